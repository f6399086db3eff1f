import sys; sys.path.insert(0,'/work/rooms/chest')
import torch, numpy as np; from pathlib import Path
from training import model_file
from training.chest import served, networks
torch.manual_seed(0)
net=networks.lite0(pretrained=False).eval(); g=served.graph(net,(3,4))
g.distance=served.fit_distance(np.random.default_rng(0).normal(size=(40,432)),np.arange(40)%2,.2)
names=('probabilities','logits','cam','embedding','ood'); p=Path('/work/cache/chest/exp.onnx')
model_file.export(g, model_file.Interface((1,160,160),2), p, names); print(model_file.output_shapes(p), p.stat().st_size)
x=np.random.default_rng(1).random((3,1,160,160),np.float32); f=model_file.run_all(p,x)
with torch.no_grad(): t=g(torch.from_numpy(x))
print({n: float(np.abs(f[n]-t[n].numpy()).max()) for n in names})
