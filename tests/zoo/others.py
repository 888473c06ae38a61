"""Models as they stand in other people's code."""
# ruff: noqa: E501, E702, E741
# fmt: off

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations as P

from .row import Net, floats, ids, rows, several, weight

_add = rows("Other people's code")
L, Seq = nn.Linear, nn.Sequential


def add(name, make, inputs, sites="input output", **more):
    _add(name, make, inputs, sites, **more)


X=floats(5,8); V=floats(8); I=floats(3,6,6)
class Nano(nn.Module):  # nanoGPT
    def __init__(s,flash=False):
        super().__init__(); s.c_attn=L(8,24); s.c_proj=L(8,8); s.n_head=2; s.n_embd=8
        s.register_buffer("bias", torch.tril(torch.ones(9,9)).view(1,1,9,9)); s.drop=nn.Dropout(0.1)
    def forward(s,x):
        B,T,C=x.size()
        q,k,v=s.c_attn(x).split(s.n_embd,dim=2)
        k=k.view(B,T,s.n_head,C//s.n_head).transpose(1,2); q=q.view(B,T,s.n_head,C//s.n_head).transpose(1,2); v=v.view(B,T,s.n_head,C//s.n_head).transpose(1,2)
        att=(q@k.transpose(-2,-1))*(1.0/math.sqrt(k.size(-1)))
        att=att.masked_fill(s.bias[:,:,:T,:T]==0,float('-inf')); att=s.drop(F.softmax(att,dim=-1))
        y=(att@v).transpose(1,2).contiguous().view(B,T,C)
        return s.c_proj(y)
add("nanoGPT", lambda: Nano(), X, expect="closed")
class Llama2c(nn.Module):
    def __init__(s):
        super().__init__(); s.wq=L(8,8,bias=False); s.wk=L(8,4,bias=False); s.wv=L(8,4,bias=False); s.wo=L(8,8,bias=False)
        f=1.0/(10000**(torch.arange(0,4,2).float()/4)); t=torch.arange(5).float(); fr=torch.outer(t,f); s.register_buffer("c",fr.cos()); s.register_buffer("s",fr.sin())
        s.register_buffer("mask",torch.triu(torch.full((1,1,9,9),float("-inf")),diagonal=1))
    def rope(s,x):
        r,i=x.reshape(x.shape[:-1]+(-1,2)).unbind(-1)
        c=s.c.view(1,5,1,2); z=s.s.view(1,5,1,2)
        return torch.stack([r*c-i*z, r*z+i*c],dim=-1).flatten(3)
    def forward(s,x):
        b,t,_=x.shape
        q,k,v=s.wq(x).view(b,t,2,4),s.wk(x).view(b,t,1,4),s.wv(x).view(b,t,1,4)
        q,k=s.rope(q),s.rope(k)
        k=k[:,:,:,None,:].expand(b,t,1,2,4).reshape(b,t,2,4); v=v[:,:,:,None,:].expand(b,t,1,2,4).reshape(b,t,2,4)
        q,k,v=q.transpose(1,2),k.transpose(1,2),v.transpose(1,2)
        sc=torch.matmul(q,k.transpose(2,3))/math.sqrt(4)
        sc=sc+s.mask[:,:,:t,:t]; sc=F.softmax(sc.float(),dim=-1).type_as(q)
        return s.wo(torch.matmul(sc,v).transpose(1,2).contiguous().view(b,t,-1))
add("llama2.c", lambda: Llama2c(), X, expect="closed", dtype="float64")
add("x-transformers einsum", lambda: Net(lambda m,x:(lambda q,k,v: m.o(torch.einsum('b h i j, b h j d -> b h i d', (torch.einsum('b h i d, b h j d -> b h i j',q,k)*0.5).masked_fill(m.mask, -torch.finfo(x.dtype).max).softmax(-1), v).permute(0,2,1,3).reshape(x.shape[0],5,8)))(*(l(x).reshape(x.shape[0],5,2,4).permute(0,2,1,3) for l in (m.q,m.k,m.v))), q=L(8,8),k=L(8,8),v=L(8,8),o=L(8,8),mask=torch.ones(5,5).triu(1).bool()), X, expect="closed")
class ViT(nn.Module):
    def __init__(s):
        super().__init__(); s.proj=nn.Conv2d(3,8,3,3); s.cls=nn.Parameter(torch.randn(1,1,8)); s.pos=nn.Parameter(torch.randn(1,5,8)); s.qkv=L(8,24); s.o=L(8,8); s.n=nn.LayerNorm(8); s.n2=nn.LayerNorm(8); s.m=Seq(L(8,16),nn.GELU(),L(16,8)); s.h=L(8,3)
    def forward(s,x):
        x=s.proj(x).flatten(2).transpose(1,2); x=torch.cat((s.cls.repeat(len(x),1,1),x),1)+s.pos
        h=s.n(x); qkv=s.qkv(h).reshape(len(x),5,3,2,4).permute(2,0,3,1,4); q,k,v=qkv[0],qkv[1],qkv[2]
        x=x+s.o(((q@k.transpose(-2,-1)*4**-0.5).softmax(dim=-1)@v).transpose(1,2).reshape(len(x),5,8))
        x=x+s.m(s.n2(x)); return s.h(x[:,0])
add("ViT from scratch", lambda: ViT(), I, "n:in n2:in output", expect="closed")
add("Annotated Transformer LayerNorm + FFN", lambda: Net(lambda m,x: x+m.b(torch.relu(m.a(m.g*(x-x.mean(-1,keepdim=True))/(x.std(-1,keepdim=True)+1e-6)+m.h))), a=L(8,12), b=L(12,8), g=weight(8), h=weight(8)), X, expect="closed")
add("Annotated attention", lambda: Net(lambda m,x:(lambda q,k,v,B: m.o(torch.matmul((torch.matmul(q,k.transpose(-2,-1))/math.sqrt(q.size(-1))).masked_fill(m.mask==0,-1e9).softmax(dim=-1),v).transpose(1,2).contiguous().view(B,-1,8)))(*[l(z).view(x.size(0),-1,2,4).transpose(1,2) for l,z in zip(m.ls,(x,x,x),strict=True)],x.size(0)), ls=nn.ModuleList(L(8,8) for _ in range(3)), o=L(8,8), mask=torch.ones(1,1,5,5).tril()), X, expect="closed")
add("performer-like (relu features)", lambda: Net(lambda m,x:(lambda q,k,v: m.o(torch.einsum('bnd,bde->bne',q,torch.einsum('bnd,bne->bde',k,v))/(torch.einsum('bnd,bd->bn',q,k.sum(1))[...,None]+1e-6)))(F.relu(m.q(x)@m.f)+1e-3,F.relu(m.k(x)@m.f)+1e-3,m.v(x)),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8),f=torch.randn(4,5).double()), X)
def gru_d(m,x):
    h=torch.zeros(x.shape[0],5,dtype=x.dtype,device=x.device); mask=(x[:,:,:4]>0).to(x.dtype)
    for t in range(x.shape[1]):
        d=torch.exp(-torch.relu(m.d(x[:,t]))); h=m.c(torch.cat([x[:,t,:4],mask[:,t]],-1),h*d)
    return m.o(h)
add("GRU-D", lambda: Net(gru_d,d=L(8,5),c=nn.GRUCell(8,5),o=L(5,3)), X)
add("DeepSets permutation layer", lambda: Net(lambda m,x: m.r(F.elu(m.g(x)-m.l(x.max(1,keepdim=True)[0]))), g=L(8,6), l=L(8,6,bias=False), r=L(6,3)), X)
add("TabTransformer", lambda: Net(lambda m,c,x: m.h(torch.cat([m.t(torch.stack([e(c[:,i]) for i,e in enumerate(m.e)],1)).flatten(1),m.n(x)],-1)), e=nn.ModuleList(nn.Embedding(5,8) for _ in range(3)), t=nn.TransformerEncoderLayer(8,2,16,batch_first=True), n=nn.LayerNorm(4), h=Seq(L(28,8),nn.ReLU(),L(8,3))), several(lambda n,g: torch.randint(5,(n,3),generator=g), floats(4)), "h:in output", expect="closed")
class Wave(nn.Module):
    def __init__(s): super().__init__(); s.f=nn.Conv1d(8,8,2,dilation=2); s.g=nn.Conv1d(8,8,2,dilation=2); s.r=nn.Conv1d(8,8,1); s.k=nn.Conv1d(8,6,1); s.o=nn.Conv1d(6,3,1)
    def forward(s,x):
        p=F.pad(x,(2,0)); h=torch.tanh(s.f(p))*torch.sigmoid(s.g(p)); return s.o(F.relu(s.k(h)))
add("WaveNet block", lambda: Wave(), floats(8,7), "input k:in output", channels={"*":1})
class UNet(nn.Module):
    def __init__(s): super().__init__(); s.d=nn.Conv2d(3,4,3,padding=1); s.m=nn.Conv2d(4,8,3,padding=1); s.u=nn.ConvTranspose2d(8,4,2,2); s.o=nn.Conv2d(8,2,1)
    def forward(s,x):
        a=F.relu(s.d(x)); b=F.relu(s.m(F.max_pool2d(a,2))); return s.o(torch.cat([s.u(b),a],1))
add("U-Net", lambda: UNet(), floats(3,4,4), "input o:in output")
add("RealNVP", lambda: Net(lambda m,x:(lambda xm: xm+(1-m.k)*(x*m.s(xm).exp()+m.t(xm)))(x*m.k), k=torch.tensor([1.,0]*4).double(), s=Seq(L(8,6),nn.Tanh(),L(6,8),nn.Tanh()), t=Seq(L(8,6),nn.ReLU(),L(6,8))), V)
add("Siamese, concat of distance and product", lambda: Net(lambda m,a,b:(lambda u,v: m.h(torch.cat([u,v,(u-v).abs(),u*v],-1)))(m.e(a),m.e(b)), e=Seq(L(8,5),nn.ReLU()), h=L(20,3)), several(V,V), "input.a+input.b output")
add("hypernetwork LoRA", lambda: Net(lambda m,x,z: m.o(torch.relu(m.a(x)+torch.einsum('bir,br->bi',m.u(z).view(-1,8,2),m.v(x)))), a=L(8,8),u=L(3,16),v=L(8,2),o=L(8,3)), several(V,floats(3)), "input.x+input.z output")
add("weight_norm + gated", lambda: Net(lambda m,x: m.d(F.silu(m.g(x))*m.u(x)), g=P.weight_norm(L(8,12)), u=nn.utils.spectral_norm(L(8,12)), d=P.spectral_norm(L(12,8))), X, expect="closed")
add("tied decoder with scale", lambda: Net(lambda m,x: torch.matmul(F.gelu(m.a(x)),m.a.weight)*8**-0.5+m.b, a=L(8,12), b=weight(8)), X, expect="closed")
def inplace(m,x):
    h=m.a(x); h.mul_(torch.sigmoid(m.g(x))); h+=m.c; h=h.clamp_(min=-2); return m.b(h.relu_())
add("in-place gates", lambda: Net(inplace,a=L(8,12),g=L(8,12),c=weight(12),b=L(12,4)), V, expect="closed")
def running(m,x):
    m.n.add_(1); m.mean.mul_(0.9).add_(0.1*x.detach().mean()); return m.b(torch.relu(m.a(x)))
add("buffers updated in forward", lambda: Net(running,a=L(8,12),b=L(12,4),n=torch.zeros(()),mean=torch.zeros(())), V, expect="closed")
add("addcmul alpha", lambda: Net(lambda m,x: m.b(torch.addcmul(m.a(x), torch.tanh(m.g(x)), m.u(x), value=-0.7)), a=L(8,12), g=L(8,12), u=L(8,12), b=L(12,4)), V, expect="closed")
add("baddbmm scores beta alpha", lambda: Net(lambda m,x: m.o(torch.bmm(torch.baddbmm(m.bias.expand(len(x),5,5), m.q(x), m.k(x).transpose(1,2), beta=0.3, alpha=0.6).softmax(-1), m.v(x))), q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8),bias=weight(1,5,5)), X, expect="closed")
add("sub alpha in norm", lambda: Net(lambda m,x: m.b(F.gelu(m.a(torch.sub(x, x.mean(-1,keepdim=True), alpha=1.0)*torch.rsqrt(x.var(-1,keepdim=True,correction=0)+1e-5)))), a=L(8,12), b=L(12,4)), V, expect="closed")
add("hstack/vstack/column_stack", lambda: Net(lambda m,x: m.b(torch.hstack([torch.relu(m.a(x)), torch.column_stack([m.c(x), m.d(x)])])), a=L(8,5), c=L(8,3), d=L(8,2), b=L(10,4)), V, expect="closed")
add("aliases: multiply, divide, subtract, negative, absolute", lambda: Net(lambda m,x: m.b(torch.negative(torch.subtract(torch.multiply(torch.relu(m.a(x)),2.0),torch.divide(m.c(x),3.0)))), a=L(8,6), c=L(8,6), b=L(6,4)), V, expect="closed")
add("inner / outer / dot spelled", lambda: Net(lambda m,x: torch.inner(torch.relu(torch.inner(x,m.a)),m.b), a=weight(12,8), b=weight(4,12)), V, expect="closed")
add("np-style swapaxes/moveaxis/ravel attention", lambda: Net(lambda m,x:(lambda q,k,v: m.o(torch.moveaxis((torch.swapaxes(torch.swapaxes(q,-1,-2),-1,-2)@torch.moveaxis(k,-1,-2)*0.5).softmax(-1)@v,1,2).reshape(len(x),5,8)))(*(torch.swapaxes(l(x).reshape(len(x),5,2,4),1,2) for l in (m.q,m.k,m.v))),q=L(8,8),k=L(8,8),v=L(8,8),o=L(8,8)), X, expect="closed")
add("scores in time-first layout", lambda: Net(lambda m,x:(lambda z:(lambda q,k,v: m.o(torch.bmm((torch.bmm(q,k.transpose(1,2))/2).softmax(-1),v).transpose(0,1).reshape(5,len(x),8)).transpose(0,1))(*(l(z).view(5,len(x)*2,4).transpose(0,1) for l in (m.q,m.k,m.v))))(x.transpose(0,1)),q=L(8,8),k=L(8,8),v=L(8,8),o=L(8,8)), X, expect="closed")
add("fairseq fused in_proj chunk + bmm", lambda: Net(lambda m,x:(lambda z:(lambda q,k,v: m.o(torch.bmm(F.softmax(torch.bmm(q*0.5,k.transpose(1,2)).float(),dim=-1).type_as(q),v).transpose(0,1).contiguous().view(5,len(x),8)).transpose(0,1))(*(c.contiguous().view(5,len(x)*2,4).transpose(0,1) for c in F.linear(z,m.w,m.c).chunk(3,dim=-1))))(x.transpose(0,1)), w=weight(24,8),c=weight(24),o=L(8,8)), X, expect="closed", dtype="float64")
add("exp / sum softmax with amax detach", lambda: Net(lambda m,x:(lambda s: m.o((torch.exp(s-s.amax(-1,keepdim=True).detach())/torch.exp(s-s.amax(-1,keepdim=True).detach()).sum(-1,keepdim=True))@m.v(x)))(m.q(x)@m.k(x).transpose(1,2)*0.5),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8)), X, expect="closed")
add("attention by F.softmax dim=1 of keys-first scores", lambda: Net(lambda m,x: m.o((m.v(x).transpose(1,2)@F.softmax(m.k(x)@m.q(x).transpose(1,2)*0.5,dim=1)).transpose(1,2)),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8)), X, expect="closed")
add("causal by tril of exp, renormalised", lambda: Net(lambda m,x:(lambda e: m.o((e/e.sum(-1,keepdim=True))@m.v(x)))(torch.exp(m.q(x)@m.k(x).transpose(1,2)*0.3).tril()),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8)), X, expect="closed")
add("multi-query, einsum heads last", lambda: Net(lambda m,x: m.o(torch.einsum('bhts,bsd->bthd',(torch.einsum('bthd,bsd->bhts',m.q(x).view(len(x),5,2,4),m.k(x))*0.5).softmax(-1),m.v(x)).flatten(2)),q=L(8,8),k=L(8,4),v=L(8,4),o=L(8,8)), X, expect="closed")
add("cosine sim attention with learned temperature", lambda: Net(lambda m,x:(lambda q,k: m.o((q@k.transpose(1,2)*m.t.exp()).softmax(-1)@m.v(x)))(F.normalize(m.q(x),dim=-1),F.normalize(m.k(x),dim=-1)),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8),t=weight(1)), X, expect="closed")
add("GEGLU / x-transformers", lambda: Net(lambda m,x:(lambda a,g: m.b(a*F.gelu(g)))(*m.p(x).chunk(2,dim=-1)), p=L(8,24), b=L(12,8)), X, expect="closed")
add("maxout", lambda: Net(lambda m,x: m.b(m.a(x).view(len(x),6,2).max(-1).values), a=L(8,12), b=L(6,3)), V)
add("squeeze-excite", lambda: Net(lambda m,x: m.o(x*torch.sigmoid(m.b(F.relu(m.a(x.mean((2,3))))))[:,:,None,None]), a=L(3,2), b=L(2,3), o=nn.Conv2d(3,2,1)), I)
add("conv BN relu conv, 1x1", lambda: Seq(nn.Conv2d(3,8,1),nn.BatchNorm2d(8),nn.ReLU(),nn.Conv2d(8,2,1)), I, expect="closed")
add("ConvNeXt block", lambda: Net(lambda m,x: x+(m.g*m.b(F.gelu(m.a(m.n(m.d(x).permute(0,2,3,1)))))).permute(0,3,1,2), d=nn.Conv2d(3,3,3,padding=1,groups=3), n=nn.LayerNorm(3,eps=1e-6), a=L(3,12), b=L(12,3), g=weight(3)), floats(3,4,4))
add("complex: rfft magnitude gate", lambda: Net(lambda m,x: m.o(torch.fft.irfft(torch.fft.rfft(x,dim=1)*torch.complex(m.w,m.z)[None],n=5,dim=1)), w=weight(3,8),z=weight(3,8),o=L(8,3)), X)
add("complex multiply via view_as_complex", lambda: Net(lambda m,x: m.o(torch.view_as_real(torch.view_as_complex(m.a(x).view(len(x),4,2))*torch.polar(torch.ones(4).double(),m.th)).flatten(1)), a=L(8,8), th=torch.rand(4).double(), o=L(8,3)), V)
add("detach in gate", lambda: Net(lambda m,x: m.b(torch.relu(m.a(x))*torch.sigmoid(m.g(x).detach())), a=L(8,6), g=L(8,6), b=L(6,3)), V, expect="closed")
add("stop-gradient target network", lambda: Net(lambda m,x: m.p(m.o(x))-m.t(x).detach(), o=Seq(L(8,6),nn.ReLU(),L(6,4)), p=L(4,4), t=Seq(L(8,6),nn.ReLU(),L(6,4))), V, expect="closed")
add("mamba-like gated conv", lambda: Net(lambda m,x:(lambda a,z: m.o(F.silu(m.c(a.transpose(1,2))[...,:5].transpose(1,2))*F.silu(z)))(*m.i(x).chunk(2,-1)), i=L(8,12), c=nn.Conv1d(6,6,3,padding=2,groups=6), o=L(6,8)), X)
add("softmax regression of a mixture (MDN)", lambda: Net(lambda m,x:(lambda h: torch.cat([F.log_softmax(m.p(h),-1), m.m(h), F.softplus(m.s(h))],-1))(torch.tanh(m.a(x))), a=L(8,6), p=L(6,3), m=L(6,3), s=L(6,3)), V)
add("scatter of ones (one-hot by scatter_)", lambda: Net(lambda m,t: m.b(torch.relu(m.a(torch.zeros(*t.shape,7,dtype=torch.float64).scatter_(-1,t[...,None],1.0)))), a=L(7,6), b=L(6,3)), ids(5,7), "a:out output", expect="closed")
add("positional add in place, sequence of blocks by ModuleDict", lambda: Net(lambda m,x: (lambda h: m.d["o"](F.gelu(m.d["u"](h))).add_(h))(m.n(x.add(m.p))), d=nn.ModuleDict({"u":L(8,12),"o":L(12,8)}), n=nn.LayerNorm(8), p=weight(5,8)), X)
add("chunked attention (two query halves)", lambda: Net(lambda m,x:(lambda q,k,v: m.o(torch.cat([(c@k.transpose(1,2)*0.5).softmax(-1)@v for c in q.split(3,1)],1)))(m.q(x),m.k(x),m.v(x)),q=L(8,4),k=L(8,4),v=L(8,4),o=L(4,8)), X)
add("std_mean norm with keepdim", lambda: Net(lambda m,x:(lambda s,u: m.b(torch.relu(m.a((x-u)/(s+1e-5)))))(*torch.std_mean(x,-1,keepdim=True)), a=L(8,12), b=L(12,4)), V, expect="closed")
add("RMSNorm x/(rms+eps)", lambda: Net(lambda m,x: m.b(F.silu(m.a(m.g*x/(x.pow(2).mean(-1,keepdim=True).sqrt()+1e-6)))), a=L(8,12), b=L(12,4), g=weight(8)), X, expect="closed")
add("ScaleNorm", lambda: Net(lambda m,x: m.b(F.silu(m.a(x*(m.g/x.norm(dim=-1,keepdim=True).clamp(min=1e-5))))), a=L(8,12), b=L(12,4), g=weight(1)), X, expect="closed")
add("group norm as instance view", lambda: Net(lambda m,x: m.b(F.relu(m.a(F.layer_norm(x.view(len(x),5,2,4),(4,)).view(len(x),5,8)))), a=L(8,12), b=L(12,4)), X)
add("attention over features (transpose)", lambda: Net(lambda m,x: m.o((x.transpose(1,2)@x*0.3).softmax(-1)@x.transpose(1,2)).transpose(1,2), o=L(5,5)), X)
