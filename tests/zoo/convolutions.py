"""Convolutional networks in one, two and three dimensions."""
# ruff: noqa: E501
# fmt: off

import torch
import torch.nn.functional as F
from torch import nn

from .row import Net, floats, rows, weight

add = rows("Convolutions")
Seq, C1, C2, C3, L = nn.Sequential, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear
X1, X2, X3 = floats(2, 7), floats(2, 4, 5), floats(2, 3, 4, 2)
FEW = {"size": 6, "channels": {"*": 1}}


def image(name, make, sites="", inputs=X2, **more):
    add(name, make, inputs, sites, **{**FEW, **more})


def head(channels=3):
    return Seq(nn.AdaptiveAvgPool2d(1), nn.Flatten(), L(channels, 4))


for mode in ("zeros", "reflect", "replicate", "circular"):
    image(f"Conv2d, padding mode {mode}", lambda mode=mode: Seq(C2(2, 3, 3, padding=1, padding_mode=mode), nn.ReLU(), C2(3, 3, 1)), "input 1:in output", expect="closed")
for name, options in {
    "no padding": {}, "stride 2": {"stride": 2}, "dilation 2": {"dilation": 2, "padding": 2}, "groups": {"groups": 2, "padding": 1},
    'padding "same"': {"padding": "same"}, 'padding "valid"': {"padding": "valid"}, "even kernel, same": {"padding": "same", "kernel_size": 2},
    "oblong kernel": {"kernel_size": (1, 3), "padding": (0, 1)}, "no bias": {"bias": False, "padding": 1},
}.items():  # fmt: skip
    image(f"Conv2d, {name}", lambda o=options: Seq(C2(2, 4, **{"kernel_size": 3, **o}), nn.ReLU(), C2(4, 3, 1)), "input 1:in output", expect="closed")
image("Conv1d", lambda: Seq(C1(2, 4, 3, padding=1), nn.GELU(), C1(4, 3, 1)), "input 1:in output", X1, expect="closed")
image('Conv1d, padding "same", dilation', lambda: Seq(C1(2, 4, 3, padding="same", dilation=2), nn.GELU(), C1(4, 3, 1)), "input 1:in output", X1, expect="closed")
image("Conv3d", lambda: Seq(C3(2, 4, 3, padding=1), nn.GELU(), C3(4, 3, 1)), "input 1:in output", X3, expect="closed", size=4)
image("ConvTranspose1d", lambda: Seq(nn.ConvTranspose1d(2, 4, 3, stride=2), nn.GELU(), C1(4, 3, 1)), "input 1:in output", X1, expect="closed")
image("ConvTranspose2d, output padding", lambda: Seq(nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1), nn.GELU(), C2(4, 3, 1)), "input 1:in output", expect="closed")
image("ConvTranspose2d, groups", lambda: Seq(nn.ConvTranspose2d(2, 4, 2, groups=2), nn.GELU(), C2(4, 3, 1)), "input 1:in output", expect="closed")
image("conv, ReLU, conv", lambda: Seq(C2(2, 4, 3, padding=1), nn.ReLU(), C2(4, 3, 3, padding=1)), "input output")
image("conv, BatchNorm, ReLU", lambda: Seq(C2(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), C2(4, 3, 1)), "input 1:in output", expect="closed")
image("conv, InstanceNorm", lambda: Seq(C2(2, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), C2(4, 3, 1)), "input 1:in 2:in output")
image("conv, GroupNorm", lambda: Seq(C2(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), C2(4, 3, 1)), "input 1:in 2:in output")
image("conv, LocalResponseNorm", lambda: Seq(C2(2, 4, 3, padding=1), nn.LocalResponseNorm(2), C2(4, 3, 1)), "input 1:in output")
image("LayerNorm over channels by permute", lambda: Net(lambda m, x: m.b(m.n(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), a=C2(2, 4, 1), n=nn.LayerNorm(4), b=C2(4, 3, 1)), "input a output")
image("LayerNorm over whole images", lambda: Seq(C2(2, 3, 1), nn.LayerNorm([3, 4, 5]), C2(3, 3, 1)), "input 1:in output")
image("depthwise separable", lambda: Seq(C2(2, 4, 1), C2(4, 4, 3, padding=1, groups=4), nn.ReLU6(), C2(4, 3, 1)), "input 1:in 2:in output", expect="closed")
image("pointwise MLP on channels", lambda: Seq(C2(2, 6, 1), nn.GELU(), C2(6, 3, 1)), "input output", expect="closed")
image("inverted residual", lambda: Net(lambda m, x: x + m.c(F.relu6(m.b(F.relu6(m.a(x))))), a=C2(2, 4, 1), b=C2(4, 4, 3, padding=1, groups=4), c=C2(4, 2, 1)), "input output")
image("residual block", lambda: Net(lambda m, x: torch.relu(x + m.b(torch.relu(m.a(x)))), s=C2(2, 3, 1), a=C2(2, 3, 3, padding=1), b=C2(3, 2, 3, padding=1)), "input output")
image("residual block, in place", lambda: Net(lambda m, x: (lambda h: F.relu_(m.b(F.relu_(m.a(h))).add_(h)))(m.s(x)), s=C2(2, 3, 1), a=C2(3, 3, 3, padding=1), b=C2(3, 3, 3, padding=1)), "input s output")
image("bottleneck with a projected skip", lambda: Net(lambda m, x: torch.relu(m.c(torch.relu(m.b(torch.relu(m.a(x))))) + m.p(x)), a=C2(2, 3, 1), b=C2(3, 3, 3, padding=1, stride=2), c=C2(3, 4, 1), p=C2(2, 4, 1, stride=2)), "input output")
image("pre-activation residual net", lambda: Seq(C2(2, 4, 3, padding=1), *(Net(lambda m, x: x + m.b(torch.relu(m.bn(x))), bn=nn.BatchNorm2d(4), b=C2(4, 4, 3, padding=1)) for _ in range(2)), head(4)), "input 1:in 2:in 3:in output")
image("ConvNeXt block", lambda: Net(lambda m, x: x + m.g * m.p(F.gelu(m.u(m.n(m.d(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2) if False else x + (m.g * m.p(F.gelu(m.u(m.n(m.d(x).permute(0, 2, 3, 1)))))).permute(0, 3, 1, 2), d=C2(2, 2, 3, padding=1, groups=2), n=nn.LayerNorm(2), u=L(2, 8), p=L(8, 2), g=weight(2)), "input output")
image("ConvNeXt block from behind its norm", lambda: Net(lambda m, x: m.p(F.gelu(m.u(m.n(m.d(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2), d=C2(2, 3, 3, padding=1), n=nn.LayerNorm(3), u=L(3, 8), p=L(8, 2)), "input n:in output", channels={"n:in": -1, "*": 1}, expect="closed")
image("squeeze and excite", lambda: Net(lambda m, x: x * torch.sigmoid(m.b(torch.relu(m.a(x.mean((2, 3), keepdim=True))))), a=C2(3, 2, 1), b=C2(2, 3, 1)), "input output", floats(3, 4, 5))
image("CBAM, spatial attention", lambda: Net(lambda m, x: x * torch.sigmoid(m.a(torch.cat([x.mean(1, True), x.amax(1, True)], 1))), a=C2(2, 1, 3, padding=1)), "input output", floats(3, 4, 5))
image("inception", lambda: Net(lambda m, x: m.o(torch.relu(torch.cat([m.a(x), m.b(x), m.c(F.max_pool2d(x, 3, 1, 1))], 1))), a=C2(2, 2, 1), b=C2(2, 2, 3, padding=1), c=C2(2, 1, 1), o=C2(5, 3, 1)), "input o:in output")
image("DenseNet", lambda: Net(lambda m, x: m.c(torch.cat([x, m.a(x), m.b(torch.cat([x, torch.relu(m.a(x))], 1))], 1)), a=C2(2, 2, 3, padding=1), b=C2(4, 2, 3, padding=1), c=C2(6, 3, 1)), "input c:in output")
image("U-Net", lambda: Net(lambda m, x: (lambda h: m.o(torch.cat([m.u(torch.relu(m.d(h))), h], 1)))(torch.relu(m.s(x))), s=C2(2, 3, 3, padding=1), d=C2(3, 4, 2, stride=2), u=nn.ConvTranspose2d(4, 3, 2, stride=2), o=C2(6, 2, 1)), "input d:in output", floats(2, 4, 4))
image("U-Net, middle alone", lambda: Net(lambda m, x: (lambda h: m.o(torch.cat([m.u(torch.relu(m.d(h))), h], 1)))(torch.relu(m.s(x))), s=C2(2, 3, 3, padding=1), d=C2(3, 4, 2, stride=2), u=nn.ConvTranspose2d(4, 3, 2, stride=2), o=C2(6, 2, 1)), "input d:out output", floats(2, 4, 4), expect="refused", says="BypassError.*'d:in'", instead="cut before the skip leaves, at d:in")
for name, pool in {
    "MaxPool2d": nn.MaxPool2d(2), "MaxPool2d, ceil_mode": nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d, dilation": nn.MaxPool2d(2, 1, dilation=2),
    "AvgPool2d": nn.AvgPool2d(2), "AvgPool2d, ceil_mode": nn.AvgPool2d(2, ceil_mode=True),
    "AvgPool2d, padding not counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False), "AvgPool2d, divisor": nn.AvgPool2d(2, divisor_override=3),
    "AdaptiveAvgPool2d(1)": nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d(3, 2)": nn.AdaptiveAvgPool2d((3, 2)),
    "AdaptiveMaxPool2d": nn.AdaptiveMaxPool2d(2), "LPPool2d": nn.LPPool2d(2, 2), "FractionalMaxPool2d": nn.FractionalMaxPool2d(2, (2, 2)),
    "Upsample, nearest": nn.Upsample(scale_factor=2), "Upsample, bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "Upsample, bilinear, align_corners": nn.Upsample(size=(7, 6), mode="bilinear", align_corners=True), "Upsample, bicubic": nn.Upsample(scale_factor=1.5, mode="bicubic"),
    "ZeroPad2d": nn.ZeroPad2d((1, 2, 0, 1)), "ReflectionPad2d": nn.ReflectionPad2d(1), "ReplicationPad2d": nn.ReplicationPad2d(2), "CircularPad2d": nn.CircularPad2d(1),
    "Unfold and back": Net(lambda m, x: F.fold(F.unfold(x, 2), (4, 5), 2)), "ChannelShuffle": nn.ChannelShuffle(2),
    "PixelUnshuffle": Net(lambda m, x: F.pixel_unshuffle(x[:, :, :, :4], 2)), "PixelShuffle": Net(lambda m, x: F.pixel_shuffle(x, 2)), "Dropout2d": nn.Dropout2d(),
    "antialiased interpolation": Net(lambda m, x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True)),
    "flip and roll": Net(lambda m, x: x.flip(2).roll(1, 3)), "crop by narrow": Net(lambda m, x: x.narrow(2, 1, 2)),
}.items():  # fmt: skip
    linear = not any(word in name for word in ("Max", "LP"))
    random = "Fractional" in name
    image(f"{name}", lambda pool=pool, name=name: Seq(C2(2, 4, 3, padding=1), pool, nn.GELU(), C2({"PixelShuffle": 1, "PixelUnshuffle": 16}.get(name, 4), 3, 1)), "input 1:in 2:in output" if name != "Dropout2d" else "input 2:in output",
          expect="refused" if random else "closed" if linear else "exact", says="random" if random else "", instead="the pool's regions are drawn at random; take AdaptiveMaxPool2d" if random else "")  # fmt: skip
image("strided and flattened", lambda: Seq(C2(2, 4, 2, stride=2), nn.ReLU(), nn.Flatten(), L(16, 4)), "input 1:in 2:in output", floats(2, 4, 4), expect="closed")
image("flattened images", lambda: Seq(nn.Flatten(), L(12, 8), nn.ReLU(), L(8, 4)), "input 1:in 2:in output", floats(1, 3, 4), size=16)
image("VGG", lambda: Seq(C2(2, 3, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), L(12, 8), nn.GELU(), nn.Dropout(), L(8, 4)), "input 2:in 4:in 5:in output", floats(2, 4, 4), size=16)
image("global max", lambda: Net(lambda m, x: m.b(m.a(x).amax((2, 3))), a=C2(2, 4, 3, padding=1), b=L(4, 3)), "input a output")
image("coordinates are appended (CoordConv)", lambda: Net(lambda m, x: m.a(torch.cat([x, m.p.expand(len(x), 1, 4, 5)], 1)), a=C2(3, 4, 3, padding=1), p=torch.randn(1, 1, 4, 5).double()), "input output", expect="closed")
image("grid_sample", lambda: Net(lambda m, x: F.grid_sample(m.a(x), m.g.expand(len(x), 3, 3, 2), align_corners=False), a=C2(2, 3, 1), g=torch.rand(1, 3, 3, 2).double() - 0.5), "input a output")
image("deformation by its own flow", lambda: Net(lambda m, x: F.grid_sample(x, m.f(x).permute(0, 2, 3, 1).tanh(), align_corners=False), f=C2(2, 2, 1)), "input output")
image("spatial transformer", lambda: Net(lambda m, x: F.grid_sample(x, F.affine_grid(m.l(x.flatten(1)).view(-1, 2, 3) + torch.eye(2, 3).to(x), (len(x), 2, 4, 5), align_corners=False), align_corners=False), l=L(40, 6)), "input output")
image("autoencoder", lambda: Seq(C2(2, 3, 2, stride=2), nn.ReLU(), nn.Flatten(), L(12, 3), L(3, 12), nn.Unflatten(1, (3, 2, 2)), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2, stride=2)), "input 1:in 3:out 6:in output", floats(2, 4, 4), channels={"*": 1})
image("channels_last memory", lambda: Net(lambda m, x: m.b(torch.relu(m.a(x.contiguous(memory_format=torch.channels_last)))), a=C2(2, 4, 3, padding=1), b=C2(4, 3, 1)), "input b:in output")
image("style: Gram matrix", lambda: Net(lambda m, x: (lambda h: torch.bmm(h, h.transpose(1, 2)))(m.a(x).flatten(2)), a=C2(2, 3, 1)), "input a output", channels={"a": 1, "input": 1, "output": -1})
image("TCN: causal, dilated, residual", lambda: Net(lambda m, x: torch.relu(x + torch.relu(m.a(F.pad(x, (2, 0))))), a=C1(2, 2, 2, dilation=2)), "input output", X1)
image("TCN: Chomp1d, weight_norm", lambda: Net(lambda m, x: m.o(torch.relu(m.a(x)[:, :, :-2])), a=nn.utils.parametrizations.weight_norm(C1(2, 4, 3, padding=2)), o=C1(4, 2, 1)), "input o:in output", X1)
image("WaveNet gate", lambda: Net(lambda m, x: x + m.o(torch.tanh(m.a(x)) * torch.sigmoid(m.b(x))), a=C1(2, 3, 3, padding=1), b=C1(2, 3, 3, padding=1), o=C1(3, 2, 1)), "input output", X1)
image("max over time (text CNN)", lambda: Net(lambda m, x: m.o(torch.cat([c(x).relu().amax(2) for c in m.c], 1)), c=nn.ModuleList(C1(2, 3, k) for k in (2, 3)), o=L(6, 3)), "input o:in output", X1)
image("vision transformer's patches", lambda: Net(lambda m, x: m.o(torch.relu(m.p(x).flatten(2).transpose(1, 2) + m.e)), p=C2(2, 6, 2, stride=2), e=weight(1, 4, 6), o=L(6, 3)), "input o:in output", floats(2, 4, 4), channels={"input": 1, "*": -1})
image("MLP-Mixer", lambda: Net(lambda m, x: m.o((lambda h: h + m.c2(F.gelu(m.c1(m.n2(h)))))(x + m.t2(F.gelu(m.t1(m.n1(x).transpose(1, 2)))).transpose(1, 2))), n1=nn.LayerNorm(6), n2=nn.LayerNorm(6), t1=L(4, 5), t2=L(5, 4), c1=L(6, 8), c2=L(8, 6), o=L(6, 3)), "input n2:in o:in output", floats(4, 6), channels={})
