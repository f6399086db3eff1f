def sub(p,a,b):
    s=open(p).read()
    if a not in s: print('MISSING',p,a[:60]); return
    open(p,'w').write(s.replace(a,b))
sub('chest/recipe.py','''their parts are patients, their seed is one"''','''their parts are patients, with one seed"''')
sub('chest/recipe.py','''{len(part):,} images of {len({image.patient for image in part.images}):,} patients {name.replace('_', ' ')}"''','''{name.replace('_', ' ')} {len(part):,} images of {part.patients:,} patients"''')
sub('chest/collection.py','''    @property
    def labels''','''    @property
    def patients(self) -> int:
        """How many."""
        return len({image.patient for image in self.images})

    @property
    def labels''')
sub('chest/recipe.py','''to order a worklist or to hint at a second "
            "look. It is no diagnosis.",''','''to order a worklist or to suggest a "
            "second look. It is no diagnosis.",''')
sub('recipes/__init__.py','"""What the bundle of this manifest is measured on, through its own recipe where it takes image files of a folder."""','"""What the bundle of this manifest is measured on; image files go through the manifest\'s own recipe."""')
sub('recipes/pneumonia_1.py','''    model = folder_cnn.train(parts["training"].rows(), parts["validation"].rows(), epochs, BATCH_SIZE, SEED, checkpoints)''','''    rows = parts["training"].rows()
    model = folder_cnn.train(rows, parts["validation"].rows(), epochs, BATCH_SIZE, SEED, checkpoints)''')
sub('recipes/pneumonia_1.py','''over {len(parts['training']):,} images, batch size {BATCH_SIZE}; the weights of the best epoch "
        f"by validation AUC (''','''over {len(rows):,} images, batch size {BATCH_SIZE}; the weights of the best epoch by "
        f"validation AUC (''')
sub('card.py','''        "## Number formats\\n\\n" + _formats(figured),
''','''        "## Shortcut\\n\\n" + _shortcut(figured),
        "## Number formats\\n\\n" + _formats(figured),
''')
sub('card.py','''def _formats(figured: dict)''','''def _shortcut(figured: dict) -> str:
    if not (told := figured.get("shortcut")):
        return ""
    rows = [(f"image statistics, {row['name']}", row) for row in told["roc_auc"]]
    sizes = figured.get("shortcut_of_sizes", {}).get("roc_auc", [])
    rows += [(f"{row['name']}, images in their original size", row) for row in sizes]
    lines = [
        "How well the class is told by what is no sign of disease: a logistic regression on "
        f"{', '.join(told['features'])} of the file, fitted on training patients; and the size of the images before "
        "they were stretched to one size. The model's own ROC-AUC stands above.",
        "",
        "| by | ROC-AUC | 95 % interval | n |",
        "|---|---:|---|---:|",
    ]
    for name, row in rows:
        low, high = row["interval"]
        lines.append(f"| {name} | {row['value']:.4f} | {low:.4f} to {high:.4f} | {row['n']:,} |")
    return "\\n".join(lines)


def _formats(figured: dict)''')
p='/work/cache/chest/chain1.sh'; s=open(p).read(); i=s.index('/work/cache/training-venv/bin/python start_cnn') if 'pneumonia-2' in s else None
print(s)
