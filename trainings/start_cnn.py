import sys; sys.path.insert(0,'/work/cache/chest')
from start import *
from training.chest import folder_cnn
train, test = files.collection(Path('/work/shared/data/chest_xray'))
pix = prepared('train', 128); parts = patients.split(train)
tr,_ = rows(parts['training'], pix); va,_ = rows(parts['validation'], pix)
folder_cnn.train(tr, va, 10, 32, 1, Path('/work/rooms/chest/.checkpoints/pneumonia-1-seed1'))
