import sys; sys.path.insert(0,'/work/rooms/chest'); sys.path.insert(0,'/work/cache/chest')
import numpy as np, json, random
from pathlib import Path
from PIL import Image
from training.chest.lung_masks import lungs
root=Path('/work/cache/chest/train-128')
es=[json.loads(l) for l in (root/'manifest.jsonl').read_text().splitlines()]
random.Random(int(sys.argv[1])).shuffle(es)
import collections
ok=collections.Counter(); tot=collections.Counter(); tiles=[]
for e in es[:int(sys.argv[2])]:
    im=np.asarray(Image.open(root/e['image'])); m=lungs(im); tot[e['label']]+=1; ok[e['label']]+= m is not None
    if m is not None:
        rgb=np.stack([im]*3,-1).astype(float); rgb[...,0]+=80*m; tiles.append(np.clip(rgb,0,255).astype(np.uint8))
print(ok,tot)
tiles=tiles[:48]; 
rows=[np.concatenate(tiles[i:i+8],1) for i in range(0,len(tiles)//8*8,8)]
Image.fromarray(np.concatenate(rows)).save('/work/cache/chest/masks.png')
