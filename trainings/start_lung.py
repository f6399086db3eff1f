import sys; sys.path.insert(0,'/work/cache/chest')
from start import *
from training.chest import unet, lung_masks
from training.chest.augment import Jitter
train, test = files.collection(Path('/work/shared/data/chest_xray'))
pix = prepared('train', 128); parts = patients.split(train)
tr,_ = rows(parts['training'], pix)
masks=[lung_masks.lungs(p) for p in tr.pixels]
keep=np.array([m is not None for m in masks]); print('masks', keep.sum(), 'of', len(keep), 'by class', [keep[tr.labels==c].mean() for c in (0,1)], flush=True)
jitter=Jitter(degrees=15, shift=0.1, scale=0.2, aspect=0.15, brightness=0.15, contrast=0.4, sharpness=0.5, flip=0.5, cutout=24)
unet.train(tr.pixels[keep], np.stack([m for m in masks if m is not None]), 8, 16, 1, jitter, Path('/work/rooms/chest/.checkpoints/lung_field-1-seed1'))
