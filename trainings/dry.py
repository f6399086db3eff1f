import sys,time,dataclasses; sys.path.insert(0,'/work/rooms/chest')
from pathlib import Path
import torch, numpy as np; torch.set_num_threads(1)
from training.chest import collection, recipe as rec, served, networks
from training.chest.collection import Part
from training.recipes import recipe
from training.train import Options
r=recipe('pneumonia-3')
state=torch.load('.checkpoints/pneumonia-3-seed1/latest.pt',weights_only=True)
net=networks.lite0(pretrained=False); net.load_state_dict(state['best'])
load=collection.load
def small(*a):
    c=load(*a); rng=np.random.default_rng(0)
    def cut(p):
        k=np.sort(rng.choice(len(p),40,replace=False)); return Part(p.pixels[k],[p.images[i] for i in k],[p.statistics[i] for i in k])
    return collection.Collection({n:cut(p) for n,p in c.parts.items()},c.digest)
collection.load=small
from training.chest import strangers; strangers.ROWS=5
def train(found, checkpoints, at_most):
    g=served.graph(net,(2,3,4)); rows=found.parts['training'].split(); g.distance=served.fit_distance(served.near(g,rows.images),rows.labels,0.1)
    return rec.Trained(g,['dry'],'torch')
r=dataclasses.replace(r,train=train)
out=Path('/tmp/chest-dry/pneumonia/3')
o=Options(data=Path('/work/shared/data/chest_xray'),out=out,checkpoints=Path('.checkpoints'),replace=True,seeds=None,epochs=None,limit=None,previous_version=None,strangers=Path('/work/shared/data'))
t=time.time(); f=r.build(o); print(time.time()-t)
