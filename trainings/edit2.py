exec(open('/work/cache/chest/edit.py').read().split("sub('chest/recipe.py'")[0])
sub('model_file.py','''    image_shape: tuple[int, int, int]
    classes: int
''','''    image_shape: tuple[int, int, int]
    classes: int
    output: str = OUTPUT
    output_shape: tuple[int, ...] | None = None

    @property
    def answer(self) -> tuple[str, list[int | str]]:
        """Name and shape of the first output."""
        return self.output, [BATCH, *(self.output_shape or (self.classes,))]
''')
sub('model_file.py','''output `probabilities` float32 [batch, classes]."""

    image''','''output `probabilities` float32 [batch, classes].

    output, output_shape: the first output's name and its shape without the batch, where it is another.
    """

    image''')
sub('model_file.py','(OUTPUT, [BATCH, interface.classes])]','interface.answer]')
sub('goldens.py','''        "cases": [_case(''','''        "cases": [case(''')
sub('goldens.py','''def _case(name: str, images: np.ndarray, model: Path) -> dict:
    scores = model_file.run(model, images)''','''def case(name: str, images: np.ndarray, model: Path, output: str = model_file.OUTPUT) -> dict:
    """One case: images float32 [n, c, h, w] and what `model` gives for them."""
    scores = model_file.run_all(model, images, (output,))[output]''')
sub('goldens.py','[_tensor(model_file.OUTPUT, scores)]','[_tensor(output, scores)]')
sub('recipes/__init__.py','''    "pneumonia-1":''','''    "lung_field-1": ("lung_field_1", "small U-Net for the lung fields of chest radiographs"),
    "pneumonia-1":''')
sub('__main__.py','''    manifest, committed = evaluation.read_bundle(options.bundle)
    dataset = recipes''','''    manifest, committed = evaluation.read_bundle(options.bundle)
    if manifest["task"] == "segmentation":
        from .chest import lung_recipe

        lung_recipe.evaluate(options.bundle, manifest, committed, options.data, Path(".checkpoints/prepared"))
        print("the committed figures repeat")
        return 0
    dataset = recipes''')
sub('__main__.py','''    print("\\n".join(evaluation.summary(entry)''','''    print("\\n".join(evaluation.summary(entry)''')
