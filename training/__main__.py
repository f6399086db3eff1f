"""`python -m training`: train a recipe into a bundle, or recompute a bundle's figures.

Exit codes: 0 done, 1 failed, 2 usage, 3 committed figures do not repeat.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import fields
from pathlib import Path

from . import evaluation, recipes
from .errors import NotRepeated, TrainingError

_EXAMPLES = """examples:
  python -m training mnist-1 --data ../data/mnist --out models/mnist/1
  python -m training evaluate models/mnist/1 --data ../data/mnist
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except NotRepeated as found:
        print(f"not repeated: {found}", file=sys.stderr)
        return 3
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk above all: bundles and checkpoints are written aside first, so nothing half-written is in force.
        print(f"error: {error.filename or 'writing'}: {error.strerror or error}; nothing was replaced", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; training goes on from its last finished epoch when the command is given again", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m training", description=__doc__, epilog=_EXAMPLES, formatter_class=formatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, summary in recipes.summaries().items():
        _add_recipe(commands.add_parser(command, help=summary, description=summary), command)
    of_bundle = functools.partial(_add_of_bundle, commands)
    line = "recompute a bundle's figures from its model.onnx and compare them with its evaluation.json"
    again = of_bundle("evaluate", line, _evaluate)
    line = "repeat what the gate refuses of mnist/, cifar10/, chest_xray/ in there too"
    again.add_argument("--strangers", type=Path, metavar="DIR", help=line)
    of_bundle("refresh", "write a bundle anew around its model.onnx: figures, baseline, curves, card", _refresh)
    line = "try fp16 weights and static int8 of a bundle and state in its evaluation and card what came of it"
    of_bundle("formats", line, _formats)
    line = "train a chest recipe on five folds of patients and state the spread in its bundle's evaluation and card"
    spread = of_bundle("folds", line, _folds)
    spread.add_argument("--checkpoints", type=Path, default=Path(".checkpoints"), metavar="DIR")
    spread.add_argument("--epochs", type=_positive, metavar="N", help="of each fold; default: the recipe's")
    spread.add_argument("--crop", type=Path, metavar="BUNDLE", help="train each fold on crops by this bundle too")
    line = "paint a classifier's worst mistakes, with heat maps, from the data folder"
    wrong = of_bundle("failures", line, _failures)
    wrong.add_argument("--to", type=Path, required=True, metavar="DIR", help="where the sheets go; they hold images")
    wrong.add_argument("--count", type=_positive, default=12, metavar="N", help="of each kind at most; default: 12")
    line = "compare the CPU time that bundles take for one row: one thread, the least of many runs by turns"
    times = commands.add_parser("cpu-time", help=line, description=line)
    times.add_argument("bundles", type=Path, nargs="+", metavar="bundle", help="a bundle's folder")
    times.set_defaults(run=_cpu_time)
    line = "make the tables of docs/models.md anew from the bundles' evaluation.json"
    report = commands.add_parser("report", help=line, description=line)
    report.set_defaults(run=_report)
    return parser


def _add_of_bundle(commands, command: str, line: str, run) -> argparse.ArgumentParser:
    """A command that takes a bundle and the data it came of."""
    parser = commands.add_parser(command, help=line, description=line)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set's folder")
    parser.set_defaults(run=run)
    return parser


def _report(_: argparse.Namespace) -> int:
    from . import report

    report.write()
    print(f"written: {report.DOCUMENT}")
    return 0


def _cpu_time(options: argparse.Namespace) -> int:
    import numpy as np

    from . import precision

    models = []
    for folder in options.bundles:
        manifest, _ = evaluation.read_bundle(folder)
        shape = (1, *manifest["model"]["input"][0]["shape"][1:])
        models.append((folder / manifest["model"]["file"], np.full(shape, 0.5, np.float32)))
    seconds = precision.cpu_times(models)
    for folder, found in zip(options.bundles, seconds):
        print(f"{folder}: {found * 1000:.2f} ms, {found / seconds[-1]:.2f} of the last one's")
    return 0


def _add_recipe(parser: argparse.ArgumentParser, command: str) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="the data set's folder")
    add("--out", type=Path, required=True, metavar="DIR", help="the bundle to write, <model>/<version>")
    add("--replace", action="store_true", help="put the new bundle in the place of one that exists")
    add("--checkpoints", type=Path, default=Path(".checkpoints"), metavar="DIR", help="default: .checkpoints")
    add("--seeds", type=_seeds, metavar="N,N", help="seeds to train; the best by validation is kept")
    add("--epochs", type=_positive, metavar="N", help="default: the recipe's")
    add("--limit", type=_positive, metavar="N", help="use the first N training images only, to try things out")
    add("--previous-version", metavar="V", help="the version this one follows, for the provenance")
    add("--strangers", type=Path, metavar="DIR", help="try the gate against mnist/, cifar10/, chest_xray/ in there")
    add("--train-only", action="store_true", help="end before the export; the same command without it goes on")
    parser.set_defaults(run=_train, command=command)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _train(options: argparse.Namespace) -> int:
    # Imported here: the frameworks take seconds to load, which neither --help nor evaluate should wait for.
    from .train import Options, train

    chosen = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
    figures = train(recipes.recipe(options.command), chosen)
    if figures is None:
        print(f"trained: {options.checkpoints}")
        return 0
    print("\n".join(evaluation.summary(entry) for entry in figures["datasets"]) + f"\nwritten: {options.out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    manifest, committed = evaluation.read_bundle(options.bundle)
    tried = committed.get("out_of_distribution", {}).get("tried", []) if options.strangers is not None else []
    if options.strangers is not None and not tried:
        raise TrainingError(f"{options.bundle}: has no gate that was tried against other images; leave out --strangers")
    if manifest["task"] == "segmentation":
        from .chest import lung_recipe

        lung_recipe.evaluate(options.bundle, manifest, committed, options.data, Path(".checkpoints/prepared"))
        print("the committed figures repeat")
        return 0
    dataset = recipes.dataset(manifest, options.data)
    if dataset.digest != manifest["provenance"]["data_digest"]:
        print("note: not the bytes that the model was made with (another order, perhaps)", file=sys.stderr)
    rule, found = evaluation.Rule.of(manifest), []
    splits = dataset.measured()
    if tried:
        from .gates import refused

        own = list(splits.values())[-1].images
        found += refused(options.bundle, manifest, tried, own, options.strangers)
    for old in committed["datasets"]:
        if old["name"] not in splits:
            raise TrainingError(f"{options.data}: holds no {old['name']!r}, only {', '.join(splits)}")
        model = options.bundle / manifest["model"]["file"]
        now, _ = evaluation.evaluate(model, splits[old["name"]], old["name"], rule)
        print(evaluation.summary(now))
        found += evaluation.differences(old, now)
    if found:
        raise NotRepeated("\n  ".join([f"{options.bundle}", *found]))
    print("the committed figures repeat")
    return 0


def _formats(options: argparse.Namespace) -> int:
    from .formats import formats

    for name, row in formats(options.bundle, options.data).items():
        print(f"{name}: {row}")
    print(f"written: {options.bundle}")
    return 0


def _folds(options: argparse.Namespace) -> int:
    from .cross_validation import cross_validate

    figures = cross_validate(options.bundle, options.data, options.checkpoints, options.epochs, options.crop)
    for name in ("cross_validation", "crop_ablation"):
        if found := figures.get(name):
            print(f"{name}: held out {found['held_out_mean']:.4f} ± {found['held_out_sd']:.4f} (mean ± sd of folds)")
    print(f"written: {options.bundle}")
    return 0


def _failures(options: argparse.Namespace) -> int:
    from .failures import failures

    for path in failures(options.bundle, options.data, options.to, options.count):
        print(f"written: {path}")
    return 0


def _refresh(options: argparse.Namespace) -> int:
    from .refresh import refresh

    figures = refresh(options.bundle, options.data)
    print("\n".join(evaluation.summary(entry) for entry in figures["datasets"]) + f"\nwritten: {options.bundle}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
