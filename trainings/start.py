import sys, json
sys.path.insert(0, '/work/rooms/chest')
from pathlib import Path
import numpy as np
from importlib import import_module
from training.chest import files, patients, loop
def prepared(split, side):
    root = Path(f'/work/cache/chest/{split}-{side}')
    from PIL import Image
    out = {}
    for line in (root/'manifest.jsonl').read_text().splitlines():
        e = json.loads(line); out[e['source']] = np.asarray(Image.open(root/e['image']))
    return out
def rows(images, pix):
    images = [i for i in images if i.sha256 in pix]
    return loop.Rows(np.stack([pix[i.sha256] for i in images]), np.array([i.label for i in images])), images
if __name__ == '__main__':
    command, seed = sys.argv[1], int(sys.argv[2])
    recipe = import_module('training.recipes.' + command.replace('-', '_'))
    data = Path('/work/shared/data/chest_xray')
    train, test = files.collection(data)
    pix = prepared('train', recipe.SIDE)
    print(len(pix), 'prepared of', len(train), flush=True)
    parts = patients.split(train)
    print({k: (len(v), len({i.patient for i in v})) for k, v in parts.items()}, flush=True)
    tr, _ = rows(parts['training'], pix); va, _ = rows(parts['validation'], pix)
    run = loop.Run(recipe.NETWORK, recipe.PLAN, seed, Path(f'/work/rooms/chest/.checkpoints/{command}-seed{seed}'), {'data': files.digest(train, test)})
    run.train(tr, va)
