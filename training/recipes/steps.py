"""From an image file to a network's input: the steps that bundles and `hilum prepare` share."""


def steps(color: str, side: int, *, square: bool = True) -> tuple[dict, ...]:
    """Decode, keep the centred square (or stretch the whole), shrink to `side`, 8 bits, [0, 1]."""
    crop = ({"op": "crop", "region": {"kind": "center_square"}},) if square else ()
    return (
        {"op": "decode", "color": color},
        *crop,
        {"op": "resize", "width": side, "height": side, "filter": "bilinear_antialias"},
        {"op": "quantise8"},
        {"op": "scale", "factor": 1 / 255},
    )


DIGIT = steps("gray", 28)
PHOTOGRAPH = steps("rgb", 32)
