"""Chest radiographs: files and patients, splits, augmentation, networks and the loop that trains them."""
