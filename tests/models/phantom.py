"""Draws the picture of docs/images.md: a chest of ellipses with a bright spot in one lung.

    python tests/models/phantom.py phantom.png          (numpy, Pillow)
    hilum predict phantom.png --models tests/models --model spots --explain docs/pictures
"""

import sys

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 520, 600


def ellipse(x, y, across, down):
    """1 inside, falling to 0 over a few pixels at the edge."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    distance = np.hypot((columns - x) / across, (rows - y) / down)
    return np.clip((1.06 - distance) / 0.12, 0, 1)


def main():
    image = 12 + 88 * ellipse(300, 300, 260, 270)
    for x in (195, 405):
        image -= 58 * ellipse(x, 270, 82, 160)
    image += 30 * ellipse(300, 260, 26, 250)
    image += 24 * ellipse(345, 345, 80, 62)
    for rib in range(7):
        for x in (195, 405):
            y = 150 + 42 * rib
            image += 9 * (ellipse(x, y, 88, 26) - ellipse(x, y + 9, 88, 26)).clip(0)
    image += 190 * ellipse(190, 350, 48, 42)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(sys.argv[1])


if __name__ == "__main__":
    main()
