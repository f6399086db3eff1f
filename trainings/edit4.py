exec(open('/work/cache/chest/edit.py').read().split("sub('chest/recipe.py'")[0])
sub('training/chest/recipe.py','''            # Measured for this network by hand: fp16 costs twice the time, int8 flips labels (docs/models.md).
''','''            # Minutes for networks of this size.
''')
sub('training/chest/lung_recipe.py','''        network = unet.train(
            training.pixels[kept], np.stack([mask for mask in masks if mask is not None]), options.epochs or self.epochs,
            self.batch_size,''','''        plausible = np.stack([mask for mask in masks if mask is not None])
        network = unet.train(
            training.pixels[kept], plausible, options.epochs or self.epochs, self.batch_size,''')
sub('training/chest/lung_recipe.py''',"Finds the lungs for a recipe\\'s crop step (`region = { kind = \"lung_field\" }`). Where it does '","Finds the lungs for a recipe\\'s crop step (`kind = \"lung_field\"`). Where it does '")
