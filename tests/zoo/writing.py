"""How a model is written, wrapped and held, whatever it computes."""
# ruff: noqa: E501
# fmt: off

import copy
import functools

import torch
import torch.nn.functional as F
from torch import nn

from .row import Net, floats, ids, named, rows, several, weight

add = rows("Writing and wrapping")
L, Seq, X = nn.Linear, nn.Sequential, floats(6)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = L(6, 8), L(8, 4)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


def script():
    return torch.jit.script(Plain().double())


def traced():
    return torch.jit.trace(Plain().double(), torch.randn(3, 6).double())


REMEDY = "give the module from which it was made"
add("torch.jit.script", script, X, "input output", expect="refused", says="(?i)ScriptModule|torch.jit", instead=REMEDY, plain=Plain)
add("torch.jit.trace", traced, X, "input output", expect="refused", says="(?i)ScriptModule|torch.jit", instead=REMEDY, plain=Plain)
add("a scripted part inside", lambda: Seq(L(6, 6), torch.jit.script(nn.Tanh()), L(6, 4)), X, "input output", expect="refused", says="(?i)ScriptModule|torch.jit|export", instead=REMEDY, plain=lambda: Seq(L(6, 6), nn.Tanh(), L(6, 4)))
add("torch.compile", lambda: torch.compile(Plain(), backend="eager"), X, "input b:in output", plain=Plain, expect="closed")
add("torch.compile of a part", lambda: Seq(torch.compile(Plain(), backend="eager"), L(4, 3)), X, "input 1:in output", plain=lambda: Seq(Plain(), L(4, 3)))
add("forward decorated by torch.compile", lambda: type("Net", (Plain,), {"forward": torch.compile(Plain.forward, backend="eager")})(), X, "input output", plain=Plain, expect="closed")
add("DataParallel", lambda: nn.DataParallel(Plain()), X, "input module.b:in output", expect="refused", says="DataParallel.*module", instead="give model.module", plain=Plain)
add("torch.fx GraphModule", lambda: torch.fx.symbolic_trace(Plain()), X, "input b:in output", expect="closed")
add("exported and unlifted", lambda: torch.export.export(Plain(), (torch.randn(12, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},)).module(), X, "input output", plain=Plain, expect="closed", dtype="float64")
add("int8, dynamic", lambda: torch.ao.quantization.quantize_dynamic(Plain(), {L}), X, "input output", plain=Plain, dtype="float64", expect="refused", says="(?i)quanti|int8", instead="give the model before quantisation")
add("fake quantisation", lambda: Net(lambda m, x: m.b(torch.fake_quantize_per_tensor_affine(torch.tanh(m.a(x)), 0.1, 0, -10, 10)), a=L(6, 8), b=L(8, 4)), X, "input output", expect="refused", says="(?i)(derivative|depends)", instead="steps have no derivative; give the model before quantisation", dtype="float64")
add("fake quantisation, cut behind it", lambda: Net(lambda m, x: m.b(torch.fake_quantize_per_tensor_affine(torch.tanh(m.a(x)), 0.1, 0, -10, 10)), a=L(6, 8), b=L(8, 4)), X, "b:in output", expect="closed", dtype="float64")
add("rounded weights", lambda: Net(lambda m, x: F.linear(torch.relu(m.a(x)), (m.w * 8).round() / 8), a=L(6, 8), w=weight(4, 8)), X, "input output", expect="closed")
add("rounded activations beside a smooth path", lambda: Net(lambda m, x: m.b(m.a(x).round(decimals=1) + m.a(x)), a=L(6, 8), b=L(8, 4)), X, "input output")
add("partly frozen", lambda: (lambda m: (m.a.requires_grad_(False), m)[1])(Plain()), X, "input output", expect="closed")
add("all frozen", lambda: Plain().requires_grad_(False), X, "input b:in output", expect="closed")
add("weights made in inference mode", lambda: _inference(Plain), X, "input output", expect="refused", says="ModelStateError.*inference mode", instead="make or load the model outside torch.inference_mode()", plain=Plain, dtype="float64")
add("training mode of a part", lambda: Net(lambda m, x: m.b(m.d(m.a(x))), a=L(6, 8), d=_Training(), b=L(8, 4)), X, "input output", expect="refused", says="ModelStateError.*training mode", instead="model.eval()")
add("deep copy", lambda: copy.deepcopy(Plain()), X, "input output", expect="closed")
add("nested containers", lambda: nn.ModuleDict({"x": nn.ModuleList([Plain()])})["x"][0], X, "input b:in output", expect="closed")
add("forward is a partial", lambda: Net(lambda m, x: functools.partial(F.linear, weight=m.w)(torch.tanh(m.a(x))), a=L(6, 8), w=weight(4, 8)), X, "input output", expect="closed")
add("torch.func.functional_call inside", lambda: Net(lambda m, x: torch.func.functional_call(m.p, {"a.weight": m.w}, (x,)), p=Plain(), w=weight(8, 6)), X, "input output", expect="closed")
add("torch.func.vmap inside", lambda: Net(lambda m, x: torch.func.vmap(lambda row: m.b(torch.tanh(m.a(row))))(x), a=L(6, 8), b=L(8, 4)), X, "input output")
add("an ensemble by vmap over weights", lambda: Net(lambda m, x: torch.func.vmap(lambda w: torch.tanh(x @ w))(m.w).mean(0), w=weight(3, 6, 4)), X, "input output")
add("an ensemble by einsum", lambda: Net(lambda m, x: torch.tanh(torch.einsum("bi,kio->bko", x, m.w)).mean(1), w=weight(3, 6, 4)), X, "input output")
add("torch.utils.checkpoint", lambda: Net(lambda m, x: torch.utils.checkpoint.checkpoint(lambda z: m.b(torch.tanh(m.a(z))), x, use_reentrant=False), a=L(6, 8), b=L(8, 4)), X, "input output")
add("a custom autograd.Function", lambda: Net(lambda m, x: m.b(_Twice.apply(m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input b:in output")
add("autograd.Function whose backward lies (gradient reversal)", lambda: Net(lambda m, x: m.b(_Reverse.apply(m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input output")
add("a backward hook", lambda: _hooked(Plain()), X, "input output", expect="closed")
add("a forward hook that changes the outcome", lambda: (lambda m: (m.a.register_forward_hook(lambda _, __, y: y + 1.5), m)[1])(Plain()), X, "input b:in output", expect="closed")
add("a forward pre-hook that changes the input", lambda: (lambda m: (m.a.register_forward_pre_hook(lambda _, args: (args[0] * 2,)), m)[1])(Plain()), X, "b:in output", expect="closed")
add("autocast inside", lambda: Net(_autocast, a=L(6, 8), b=L(8, 4)), X, "input output", dtype="float64")
add("in place: relu_", lambda: Net(lambda m, x: m.b(m.a(x).relu_()), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("in place: += on a branch", lambda: Net(_plus_equal, a=L(6, 6), b=L(6, 4)), X, "input a output")
add("in place: the input is overwritten", lambda: Net(lambda m, x: m.b(x.mul_(2).tanh_()), b=L(6, 4)), X, "input b:in output", expect="closed")
add("in place: an index is written", lambda: Net(_index_write, a=L(6, 8), b=L(8, 4)), X, "input output")
add("in place: slices of an empty tensor", lambda: Net(_fill, a=L(6, 4), b=L(6, 4), o=L(8, 4)), X, "input o:in output")
add("in place: clamp_, a view of a view", lambda: Net(lambda m, x: (lambda h: (h.view(-1, 2, 4)[:, 0].clamp_(-0.2, 0.2), m.b(h))[1])(m.a(x)), a=L(6, 8), b=L(8, 4)), X, "input output")
add("buffer counts the calls", lambda: Net(_counts, a=L(6, 8), b=L(8, 4), n=torch.zeros(1)), X, "input output", expect="closed")
add("a state that changes the outcome", lambda: Net(_stateful, a=L(6, 8), b=L(8, 4), n=torch.zeros(1)), X, "input output", expect="refused", says="ActivationError.*state", instead="reset the state in forward")
add("attributes are written in forward", lambda: Net(_remembers, a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("views: transposed, flattened, back", lambda: Net(lambda m, x: m.b(m.a(x).view(-1, 2, 4).transpose(1, 2).contiguous().flatten(1).tanh()), a=L(6, 8), b=L(8, 4)), X, "input output")
add("inputs are not contiguous", lambda: Plain(), lambda n, g: torch.randn(6, n, dtype=torch.float64, generator=g).T, "input output", expect="closed")
add("inputs are expanded", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=L(6, 8), b=L(8, 4)), lambda n, g: torch.randn(n, 1, 6, dtype=torch.float64, generator=g).expand(n, 3, 6), "input output", expect="closed")
add("inputs in float32, the model in float64", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x.double()))), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("a choice by a configuration", lambda: Net(lambda m, x, relu=True: m.b(torch.relu(m.a(x)) if relu else m.a(x)), a=L(6, 8), b=L(8, 4)), lambda n, g: {"x": floats(6)(n, g), "relu": False}, "input output")
add("keyword inputs", lambda: Net(lambda m, x, scale=None: m.b(torch.tanh(m.a(x))) * (1 if scale is None else scale), a=L(6, 8), b=L(8, 4)), named(x=X), "input b:in output", expect="closed")
add("a list of inputs", lambda: Net(lambda m, xs: m.b(torch.tanh(m.a(torch.cat(xs, -1)))), a=L(6, 8), b=L(8, 4)), lambda n, g: {"xs": [floats(2)(n, g), floats(4)(n, g)]}, "a:in b:in output", expect="closed")
add("a dict as input", lambda: Net(lambda m, d: m.b(torch.tanh(m.a(d["x"]))), a=L(6, 8), b=L(8, 4)), lambda n, g: {"d": {"x": floats(6)(n, g)}}, "a:in b:in output", expect="closed")
add("*args", lambda: Net(lambda m, *xs: m.b(torch.tanh(m.a(xs[0]) + m.c(xs[1]))), a=L(6, 8), c=L(3, 8), b=L(8, 4)), several(X, floats(3)), "b:in output", expect="closed")
add("a flag of one number for all samples", lambda: Net(lambda m, x, t: m.b(torch.tanh(m.a(x) * t)), a=L(6, 8), b=L(8, 4)), lambda n, g: (floats(6)(n, g), torch.tensor(2)), "input.x b:in output", expect="exact")
add("a shape decides", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))) / x.shape[-1], a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("the batch size is used as a number", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))) / x.shape[0], a=L(6, 8), b=L(8, 4)), X, "input output", expect="refused", says="BatchError|ExportError", instead="a sample's value must not depend on the others")
add("the batch size is written into the code", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).view(12, 2, 4).flatten(1)), a=L(6, 8), b=L(8, 4)), X, "input output", expect="refused", says="BatchError", instead="write x.shape[0] or -1 in place of the number")
add("assert in forward", lambda: Net(_asserts, a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("print in forward", lambda: Net(lambda m, x: (print(end=""), m.b(torch.tanh(m.a(x))))[1], a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("a value decides (if)", lambda: Net(lambda m, x: m.b(x) if x.sum() > 0 else m.a(x), a=L(6, 4), b=L(6, 4)), X, "input output", expect="refused", says="ExportError.*Chain", instead="choose for each sample by itself with torch.where")
add("a value decides (while)", lambda: Net(_while, a=L(6, 6), b=L(6, 4)), X, "input output", expect="refused", says="ExportError.*Chain", instead="a fixed number of rounds")
add("a value decides (.item())", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))) * x.amax().item(), a=L(6, 8), b=L(8, 4)), X, "input output", expect="refused", says="ExportError|BatchError|BypassError", instead="keep values in tensors, of each sample by itself")
add("NumPy in forward", lambda: Net(lambda m, x: m.b(torch.from_numpy(x.detach().numpy() * 2)), b=L(6, 4)), X, "input output", expect="refused", says="ExportError", instead="write it in torch")
add("torch.cond", lambda: Net(lambda m, x: torch.cond(x.sum() > 0, lambda z: m.a(z), lambda z: m.b(z), (x,)), a=L(6, 4), b=L(6, 4)), X, "input output", expect="refused", says="ExportError.*Chain", instead="choose for each sample by itself with torch.where")
add("boolean indexing", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))[:, m.k]), a=L(6, 8), b=L(3, 4), k=torch.tensor([1, 0, 1, 0, 0, 1, 0, 0]).bool()), X, "input output")
add("integer indexing", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))[:, [0, 2, 5]]), a=L(6, 8), b=L(3, 4)), X, "input output", expect="closed")
add("index_select", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).index_select(-1, torch.tensor([0, 2, 5]))), a=L(6, 8), b=L(3, 4)), X, "input output", expect="closed")
add("gather by a constant", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).gather(1, torch.tensor([[0, 2, 5]]).expand(len(x), 3))), a=L(6, 8), b=L(3, 4)), X, "input output")
add("masked_select by a mask of values", lambda: Net(lambda m, x: m.a(x)[x.sum(-1) > 0], a=L(6, 4)), X, "input output", expect="refused", says="ExportError|SiteError|BatchError", instead="torch.where keeps the shape")
add("nonzero of values", lambda: Net(lambda m, x: m.a(x).index_select(0, (x.sum(-1) > -99).nonzero()[:, 0]), a=L(6, 4)), X, "input output", expect="refused", says="ExportError|SiteError|BatchError", instead="torch.where keeps the shape")
add("samples are turned into positions", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x[None]))).squeeze(0), a=L(6, 8), b=L(8, 4)), X, "input output", expect="exact")
add("batch and positions merged in between", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x.flatten(0, 1)))).view(-1, 3, 4), a=L(6, 8), b=L(8, 4)), floats(3, 6), "input output", expect="closed")
add("batch and positions merged, cut there", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x.flatten(0, 1)))).view(-1, 3, 4), a=L(6, 8), b=L(8, 4)), floats(3, 6), "input b:in output", expect="refused", says="SiteError.*no batch dimension", instead="cut before or after the merged part")
add("meets an unused module", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=L(6, 8), b=L(8, 4), c=L(3, 3)), X, "input c output", expect="refused", says="SiteError.*'c'.*does not exist", instead="a module that is never called is no site")
add("site is a constant", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)) + m.p(torch.arange(8).double())), a=L(6, 8), b=L(8, 4), p=L(8, 8)), X, "input p output", expect="refused", says="SiteError.*does not depend on the inputs", instead="choose another site")
add("sites out of order", lambda: Plain(), X, "b:in a:out output", expect="refused", says="SiteError.*out of order", instead="list them in the model's order")
add("a site twice", lambda: Plain(), X, "input a a output", expect="refused", says="listed twice", instead="name each site once")
add("a dead end as site", lambda: Net(lambda m, x: (m.b(m.a(x)), m.c(m.a(x)))[0], a=L(6, 8), b=L(8, 4), c=L(8, 4)), X, "input c output", expect="refused", says="SiteError.*does not (depend|exist)", instead="choose sites on one path")
add("inputs of whole numbers only", lambda: Net(lambda m, t: m.b(torch.tanh(m.a(t.double()))), a=L(6, 8), b=L(8, 4)), lambda n, g: torch.randint(5, (n, 6), generator=g), "a b:in output", expect="closed")
add("inputs of whole numbers only, cut before the weights", lambda: Net(lambda m, t: m.b(torch.tanh(m.a(t.double()))), a=L(6, 8), b=L(8, 4)), lambda n, g: torch.randint(5, (n, 6), generator=g), "a:in b:in output", expect="refused", says="(?i)SiteError.*(integer|whole number)", instead="give floats: integers that meet no weights are context")
add("whole numbers without weights are context", lambda: Net(lambda m, x, t: m.b(torch.tanh(m.a(x) + t[:, None].double())), a=L(6, 8), b=L(8, 4)), several(X, lambda n, g: torch.full((n,), 2)), "input.x b:in output")
add("timestep embedding (diffusion)", lambda: Net(lambda m, x, t: m.b(torch.tanh(m.a(x) + m.t(torch.cat([torch.sin(t[:, None] * m.f), torch.cos(t[:, None] * m.f)], -1)))), a=L(6, 8), b=L(8, 4), t=L(6, 8), f=torch.tensor([1.0, 0.5, 0.25])), several(X, lambda n, g: torch.arange(n)), "input.x output", expect="refused", says="BypassError", instead="cut where both have met (b:in)")
add("timestep embedding, cut behind it", lambda: Net(lambda m, x, t: m.b(torch.tanh(m.a(x) + m.t(torch.cat([torch.sin(t[:, None] * m.f), torch.cos(t[:, None] * m.f)], -1)))), a=L(6, 8), b=L(8, 4), t=L(6, 8), f=torch.tensor([1.0, 0.5, 0.25])), several(X, lambda n, g: torch.arange(n)), "b:in output", expect="closed")
add("a sample of zero dimensions", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x[:, None]))), a=L(1, 8), b=L(8, 4)), floats(), "input b:in output", size=20)
add("Sequential of functions in modules", lambda: Seq(L(6, 8), nn.Unflatten(1, (2, 4)), nn.Flatten(), nn.Tanh(), L(8, 4)), X, "input output")
add("einops-like reshape by einsum", lambda: Net(lambda m, x: m.b(torch.einsum("bhw->bwh", m.a(x).view(-1, 2, 4)).reshape(-1, 8).tanh()), a=L(6, 8), b=L(8, 4)), X, "input output")
add("batches of one sample", lambda: Plain(), X, "input output", size=1, expect="closed")
add("nested attribute names with dots in a dict", lambda: Net(lambda m, x: m.d["one"](torch.tanh(m.d["two"](x))), d=nn.ModuleDict({"one": L(8, 4), "two": L(6, 8)})), X, "input d.one:in output", expect="closed")
add("shared submodule under two names", lambda: (lambda l: Net(lambda m, x: m.two(torch.tanh(m.one(x))), one=l, two=l))(L(6, 6)), X, "input one#2:in output", expect="closed")
add("shared submodule, by its second name", lambda: (lambda l: Net(lambda m, x: m.two(torch.tanh(m.one(x))), one=l, two=l))(L(6, 6)), X, "input two:in output", expect="refused", says="also called 'one'", instead="use the first name")
add("embedding with a padding number", lambda: Net(lambda m, t: m.b(torch.tanh(m.a(m.e(t)))), e=nn.Embedding(11, 6, padding_idx=0), a=L(6, 8), b=L(8, 4)), ids(), "e b:in output", expect="closed", size=8)
add("embedding of max_norm", lambda: Net(lambda m, t: m.b(torch.tanh(m.a(m.e(t)))), e=nn.Embedding(11, 6, max_norm=0.5), a=L(6, 8), b=L(8, 4)), ids(), "e b:in output", size=8)
add("one-hot in place of an embedding", lambda: Net(lambda m, t: m.b(torch.tanh(F.one_hot(t, 11).double() @ m.w)), w=weight(11, 6), b=L(6, 4)), ids(), "b:in output", size=8, expect="closed")
add("tied embedding and unembedding", lambda: Net(lambda m, t: F.linear(m.n(m.h(m.e(t))), m.e.weight), e=nn.Embedding(11, 6), h=L(6, 6), n=nn.LayerNorm(6)), ids(), "e n:in output", size=8, expect="closed")
add("logits and loss by targets", lambda: Net(lambda m, x, y: (F.cross_entropy(m.b(torch.tanh(m.a(x))), y), m.b(torch.tanh(m.a(x)))), a=L(6, 8), b=L(8, 4)), several(X, lambda n, g: torch.arange(n) % 4), "input.x output", expect="exact")
add("a named tuple comes out", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))).topk(3), a=L(6, 8), b=L(8, 4)), X, "input output[0]")
add("random features fixed by a seed", lambda: Net(lambda m, x: m.a(torch.cos(x @ torch.randn(6, 8, generator=torch.Generator().manual_seed(3), dtype=x.dtype))), a=L(8, 4)), X, "input output", expect="refused", says="ActivationError|ExportError", instead="hold the numbers in a buffer")


class _Training(nn.Module):
    def eval(self):
        return self.train(True)

    def train(self, mode=True):
        self.training = True
        return self

    def forward(self, x):
        return x


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -0.3 * g


def _inference(make):
    with torch.inference_mode():
        return make()


def _hooked(m):
    m.a.register_full_backward_hook(lambda *_: None)
    return m


def _autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
        return m.b(torch.tanh(m.a(x)))


def _plus_equal(m, x):
    h = m.a(x)
    y = h.tanh()
    y += h
    return m.b(y)


def _index_write(m, x):
    h = m.a(x)
    h[:, 2] = h[:, 1] * h[:, 0]
    return m.b(h.tanh())


def _fill(m, x):
    h = torch.empty(len(x), 8, dtype=x.dtype)
    h[:, :4] = m.a(x).tanh()
    h[:, 4:] = m.b(x)
    return m.o(h)


def _counts(m, x):
    m.n.add_(1)
    return m.b(torch.tanh(m.a(x)))


def _stateful(m, x):
    m.n.add_(1)
    return m.b(torch.tanh(m.a(x))) * m.n


def _remembers(m, x):
    m.last = m.a(x)
    m.log = [1]
    return m.b(torch.tanh(m.last))


def _asserts(m, x):
    assert x.shape[-1] == 6
    torch._assert(x.ndim == 2, "two dimensions")
    return m.b(torch.tanh(m.a(x)))


def _while(m, x):
    while x.norm() > 1:
        x = m.a(x).tanh() * 0.01
    return m.b(x)
