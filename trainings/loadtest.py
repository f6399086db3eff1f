import sys,time; sys.path.insert(0,'/work/rooms/chest')
from pathlib import Path
from training.chest import collection, recipe
t=time.time(); c=collection.load(Path('/work/shared/data/chest_xray'), recipe.steps(160)[:4], Path('.checkpoints/prepared/chest-160'))
print(time.time()-t, {k:(len(p),p.patients) for k,p in c.parts.items()}, c.digest)
