exec(open('/work/cache/chest/edit.py').read().split("sub('chest/recipe.py'")[0])
sub('training/publish.py','''    difference: dict | None = None
    more: dict''','''    difference: dict | None = None
    try_formats: bool = True
    more: dict''')
sub('training/publish.py','''        if made.rows.calibration is not None:
            more["formats_tried"]''','''        if made.rows.calibration is not None and made.try_formats:
            more["formats_tried"]''')
sub('training/publish.py','''    more: further statements''','''    try_formats: whether fp16 and int8 are tried; minutes for a large network.
    more: further statements''')
sub('training/chest/recipe.py','''            provisional=True,
''','''            provisional=True,
            # Measured for this network by hand: fp16 costs twice the time, int8 flips labels (docs/models.md).
            try_formats=False,
''')
sub('training/chest/strangers.py','''    found = strangers.strangers("chest", own, collections)
''','''    found = strangers.strangers("chest", own[:ROWS], collections)
    found = {name: images[:ROWS] for name, images in found.items()}
''')
sub('training/chest/strangers.py','''own[: strangers.ROWS, :, ::-1, ::-1]''','''own[:ROWS, :, ::-1, ::-1]''')
sub('training/chest/strangers.py','''_CROPS = 100
''','''# Of each set at most.
ROWS = 200
_CROPS = ROWS // 2
''')
sub('training/chest/torch_training.py','''        rows = parts["training"].split()
        served.distance = fit_distance(near(served, rows.images), rows.labels, shrink)
        return Trained(served, [_sentence(plan, history, len(rows))]''','''        rows = parts["training"].split()
        fitted = rows.take(slice(None, None, max(1, len(rows) // DISTANCE_ROWS)))
        served.distance = fit_distance(near(served, fitted.images), fitted.labels, shrink)
        return Trained(served, [_sentence(plan, history, len(rows))]''')
sub('training/chest/torch_training.py','''

def trained(''','''
# Every so many-th training image fits the distance, so that about this number does.
DISTANCE_ROWS = 1500


def trained(''')
