"""Takes ONNX Runtime's shared library out of its official wheel: `make onnxruntime`.

pip downloads the wheel that `requirements.txt` pins by hash, the library's own hash is that of
`SHA256SUMS`, and a rename puts it in place, so that a file under its final name is always whole.
Where that file is there already, nothing is done. This file must never run code out of the wheel.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = "libonnxruntime.so.1.32.0"
MEMBER = "onnxruntime/capi/" + LIBRARY
# A wheel for any Python holds the same library; this one is pinned.
PYTHON_TAGS = ["--python-version=3.11", "--implementation=cp", "--abi=cp311"]
OTHER_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


class FetchError(Exception):
    """What went wrong and what to do about it."""


def pinned_digest(sums: Path, machine: str) -> str:
    """The library's SHA-256 for a processor as `uname -m` calls it."""
    known = {}
    for line in sums.read_text().splitlines():
        digest, name = line.split()
        known[name.split("/")[0]] = digest
    if machine not in known:
        raise FetchError(
            f"no ONNX Runtime is pinned for {machine}, only for {' and '.join(sorted(known))}: "
            f"build or install {LIBRARY} yourself and name it by ORT_DYLIB_PATH"
        )
    return known[machine]


def digest_of(path: Path) -> str | None:
    """A file's SHA-256, or None where there is no file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def pip(scratch: Path) -> list[str]:
    """A command that runs pip: this Python's, or that of a virtual environment made for it."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    made = subprocess.run([sys.executable, "-m", "venv", scratch / "venv"], capture_output=True)
    if made.returncode != 0:
        raise FetchError(
            f"{sys.executable} has neither pip nor a working venv: install one "
            "(Debian: apt install python3-pip, or python3-venv), or name a Python that has it: "
            "make onnxruntime PYTHON=…"
        )
    return [str(scratch / "venv/bin/python"), "-m", "pip"]


def download(requirements: Path, machine: str, scratch: Path) -> Path:
    """The pinned wheel, its hash checked by pip."""
    print(f"onnxruntime: downloading the wheel for {machine}", file=sys.stderr)
    environment = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"}
    # Other people's constraints have no hashes, which pip would refuse.
    environment.pop("PIP_CONSTRAINT", None)
    wheels = scratch / "wheels"
    command = [
        *pip(scratch), "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--require-hashes", *PYTHON_TAGS,
        f"--platform=manylinux_2_28_{machine}", f"--dest={wheels}",
        f"--requirement={requirements}",
    ]  # fmt: skip
    run = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise FetchError(
            f"pip could not fetch the wheel:\n{run.stderr.strip()}\nWithout a network, put the "
            f"wheel that {requirements.name} names on this machine and run "
            "make onnxruntime HILUM_ORT_WHEEL=PATH"
        )
    (wheel,) = wheels.glob("*.whl")
    return wheel


def unpack(wheel: Path, digest: str, target: Path, scratch: Path) -> None:
    """Writes the library out of `wheel` to `target`, if its SHA-256 is `digest`."""
    partial = scratch / LIBRARY
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, partial.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{wheel} is no wheel with {MEMBER}: {error}") from error
    found = digest_of(partial)
    if found != digest:
        raise FetchError(f"{wheel}: {MEMBER} has SHA-256 {found}, {digest} is expected: not used")
    partial.chmod(0o644)
    partial.replace(target)


def fetch(into: Path, machine: str, wheel: Path | None, pins: Path = HERE) -> bool:
    """Puts the library into `into`; False if the right one was there already."""
    digest = pinned_digest(pins / "SHA256SUMS", machine)
    target = into / LIBRARY
    if digest_of(target) == digest:
        return False
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".partial-") as name:
        scratch = Path(name)
        unpack(wheel or download(pins / "requirements.txt", machine, scratch), digest, target, scratch)
    return True


def main() -> int:
    """Runs the command; the exit code is 0 done, 1 failed, 2 usage."""
    this_machine = platform.machine().lower()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=HERE.parent.parent / ".onnxruntime")
    parser.add_argument("--machine", default=OTHER_NAMES.get(this_machine, this_machine))
    arguments = parser.parse_args()
    wheel = os.environ.get("HILUM_ORT_WHEEL")
    try:
        if platform.system() != "Linux":
            raise FetchError("ONNX Runtime is pinned for Linux: name yours by ORT_DYLIB_PATH")
        if fetch(arguments.into, arguments.machine, Path(wheel) if wheel else None):
            print(f"onnxruntime: {arguments.into / LIBRARY}", file=sys.stderr)
    except (FetchError, OSError) as error:
        print(f"onnxruntime: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
