import sys, time; sys.path.insert(0,'/work/rooms/chest')
import torch
torch.set_num_threads(1)
from training.chest import networks
from training.recipes import pneumonia_3 as r
import copy
for fmt in (torch.channels_last, torch.contiguous_format):
  for size in (224,160):
    net=networks.lite0(False).to(memory_format=fmt).train()
    o=torch.optim.AdamW(net.parameters(), fused=True); g=torch.Generator().manual_seed(0)
    x=torch.rand(16,1,size,size)
    T=dict(j=0,f=0,b=0,o=0)
    for i in range(4):
        c=time.process_time; t=c(); y=r.PLAN.jitter(x,g).contiguous(memory_format=fmt); T['j']+=c()-t if i else 0
        t=c(); l=net(y).square().mean(); T['f']+=c()-t if i else 0
        t=c(); o.zero_grad(); l.backward(); T['b']+=c()-t if i else 0
        t=c(); o.step(); T['o']+=c()-t if i else 0
    print(fmt,size,{k:round(v/3,3) for k,v in T.items()}, flush=True)
