"""Makes golden.json beside it: calibrated scores by SciPy and NumPy, written from the papers.

    python src/pipeline/interpret/golden.py      (numpy 2.4, scipy 1.16)
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import expit, logit, softmax

rng = np.random.default_rng(20)
binary = []
for z in [-30.0, -4.0, -0.3, 0.0, 0.7, 2.0, 11.0, *rng.normal(0, 3, 9)]:
    z = float(np.float32(z))
    a, b = (round(float(x), 3) for x in (rng.uniform(0.3, 1.7), rng.normal()))
    t = round(float(rng.uniform(0.4, 3.0)), 3)
    training, site = (round(float(x), 3) for x in rng.uniform(0.02, 0.98, 2))
    shift = logit(site) - logit(training)
    # The same by Bayes' rule on the probability, without a logit (Elkan 2001, theorem 2).
    p = expit(z)
    moved = p * site / training / (p * site / training + (1 - p) * (1 - site) / (1 - training))
    assert np.isclose(moved, expit(z + shift), atol=1e-12)
    binary.append({
        "z": z, "a": a, "b": b, "t": t, "training": training, "site": site,
        "none": expit(z), "platt": expit(a * z + b), "temperature": expit(z / t),
        "platt_at_site": expit(a * z + b + shift), "at_site": moved,
    })
several = []
for k in (2, 3, 10):
    logits = rng.normal(0, 4, k).astype(np.float32).astype(float)
    t = round(float(rng.uniform(0.4, 3.0)), 3)
    several.append({
        "logits": logits.tolist(), "t": t,
        "raw": softmax(logits).tolist(), "calibrated": softmax(logits / t).tolist(),
    })
path = Path(__file__).with_name("golden.json")
path.write_text(json.dumps({"binary": binary, "several": several}, indent=1) + "\n")
