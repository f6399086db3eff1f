import sys, os; sys.path.insert(0,'/work/rooms/chest'); sys.path.insert(0,'/work/cache/chest')
from start import *; import torch; torch.set_num_threads(1)
import torch, gzip, tarfile, io
from PIL import Image
from training.chest import networks
net = networks.lite0(pretrained=False)
state = torch.load('/work/rooms/chest/.checkpoints/pneumonia-3-seed1/latest.pt', weights_only=True)
print(state['history'])
net.load_state_dict(state['average']); net.eval()
cache='/work/cache/chest/feats-%d.npz' % len(state['history']['auc'])
train, test = files.collection(Path('/work/shared/data/chest_xray'))
parts = patients.split(train)
@torch.no_grad()
def feats(px):
    out=[]
    for i in range(0,len(px),32):
        x=torch.from_numpy(px[i:i+32]).unsqueeze(1).float()/255
        st=net.body.stages(x)
        lg=net.head(st[-1].mean(dim=(2,3)))
        out.append(torch.cat([lg]+[s.mean(dim=(2,3)) for s in st],1).numpy())
    return np.concatenate(out)
if not os.path.exists(cache):
    pix=prepared('train',160); tpix=prepared('test',160)
    sets={}
    for k in ('training','validation','calibration','held_out'):
        r,_=rows(parts[k],pix); 
        if k=='training': r=loop.Rows(r.pixels[::3], r.labels[::3])
        if k=='held_out': r=loop.Rows(r.pixels[::3], r.labels[::3])
        sets[k]=r
    r,_=rows(test,tpix); sets['test']=loop.Rows(r.pixels[::3], r.labels[::3])
    own=sets['test'].pixels[:80]
    L=lambda im: np.asarray(im.convert('L').resize((160,160),Image.BILINEAR))
    orig=np.stack([L(Image.open(p)) for p in sorted(Path('/work/shared/data/chest_xray_original').rglob('*.jp*g'))])
    mn=np.frombuffer(gzip.open('/work/shared/data/mnist/t10k-images-idx3-ubyte.gz').read(),np.uint8,offset=16).reshape(-1,28,28)[:80]
    t=tarfile.open('/work/shared/data/cifar10/test.tar'); ms=[m for m in t.getmembers() if m.isfile()][::125]
    cif=np.stack([L(Image.open(io.BytesIO(t.extractfile(m).read()))) for m in ms])
    from sklearn.datasets import load_sample_images
    rng=np.random.default_rng(0); ph=[]
    for im in load_sample_images().images:
        for _ in range(30):
            s=rng.integers(150,420); y=rng.integers(0,im.shape[0]-s+1); x=rng.integers(0,im.shape[1]-s+1); ph.append(L(Image.fromarray(im[y:y+s,x:x+s])))
    more={'originals':orig,'mnist':np.stack([L(Image.fromarray(m)) for m in mn]),'cifar':cif,'photos':np.stack(ph),'inverted':255-own,'rot90':np.ascontiguousarray(np.rot90(own,axes=(1,2))),'rot180':np.ascontiguousarray(np.rot90(own,2,axes=(1,2))),'noise':rng.integers(0,256,(20,160,160)).astype(np.uint8),'blank':np.stack([np.full((160,160),v,np.uint8) for v in range(0,256,25)])}
    F={k:feats(v.pixels) for k,v in sets.items()}; F|={k:feats(v) for k,v in more.items()}
    F|={'y_'+k:v.labels for k,v in sets.items()}
    np.savez(cache,**F)
F=dict(np.load(cache))
