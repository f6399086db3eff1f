"""Tests of `fetch.py` on small wheels of its own; no network.

`python3 -m unittest discover --start-directory deploy/onnxruntime` runs them.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import unittest
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import fetch

METADATA = {
    "METADATA": "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.32.0\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n",
}
BODY = b"\x7fELF stands for a library" * 1000


class Fetch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.into = self.root / "into"
        self.target = self.into / fetch.LIBRARY
        self.wheel = self.make_wheel("onnxruntime.whl", BODY)
        digest = hashlib.sha256(BODY).hexdigest()
        (self.root / "SHA256SUMS").write_text(f"{digest}  x86_64/{fetch.LIBRARY}\n")

    def make_wheel(self, name, body, member=fetch.MEMBER):
        wheel = self.root / name
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, body)
            for file, text in METADATA.items():
                archive.writestr(f"onnxruntime-1.32.0.dist-info/{file}", text)
        return wheel

    def fetch(self, wheel, machine="x86_64"):
        return fetch.fetch(self.into, machine, wheel, pins=self.root)

    def only(self, *names):
        self.assertEqual(sorted(path.name for path in self.into.iterdir()), sorted(names))

    def test_the_library_is_put_in_place_and_nothing_else(self):
        self.assertTrue(self.fetch(self.wheel))
        self.assertEqual(self.target.read_bytes(), BODY)
        self.only(fetch.LIBRARY)

    def test_a_second_run_does_nothing(self):
        self.fetch(self.wheel)
        before = self.target.stat()
        with mock.patch.object(fetch, "download", side_effect=AssertionError("downloads")):
            self.assertFalse(self.fetch(None))
        after = self.target.stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def test_a_partial_file_is_replaced(self):
        self.into.mkdir()
        self.target.write_bytes(BODY[:100])
        self.assertTrue(self.fetch(self.wheel))
        self.assertEqual(self.target.read_bytes(), BODY)

    def test_another_library_is_refused_and_the_file_in_place_stays(self):
        self.into.mkdir()
        self.target.write_bytes(b"older")
        with self.assertRaisesRegex(fetch.FetchError, "SHA-256 .* is expected"):
            self.fetch(self.make_wheel("other.whl", BODY + b"!"))
        self.assertEqual(self.target.read_bytes(), b"older")
        self.only(fetch.LIBRARY)

    def test_what_is_no_wheel_is_refused(self):
        broken = self.root / "broken.whl"
        broken.write_bytes(self.wheel.read_bytes()[:40])
        for wheel in (broken, self.root / "gone.whl", self.make_wheel("empty.whl", BODY, "x")):
            with self.assertRaisesRegex(fetch.FetchError, wheel.name):
                self.fetch(wheel)
            self.only()

    def test_an_unknown_processor_is_named(self):
        with self.assertRaisesRegex(fetch.FetchError, "riscv64.*x86_64"):
            self.fetch(self.wheel, machine="riscv64")

    def test_a_wheel_with_another_hash_is_refused_by_pip(self):
        wheels = self.root / "wheels"
        wheels.mkdir()
        name = "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl"
        self.make_wheel(f"wheels/{name}", BODY)
        digest = hashlib.sha256((wheels / name).read_bytes()).hexdigest()
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
        requirements = self.root / "requirements.txt"
        with mock.patch.dict(os.environ, pip), redirect_stderr(io.StringIO()):
            requirements.write_text(f"onnxruntime==1.32.0 --hash=sha256:{digest}\n")
            self.assertTrue(self.fetch(None))
            self.assertEqual(self.target.read_bytes(), BODY)
            self.target.unlink()
            requirements.write_text(f"onnxruntime==1.32.0 --hash=sha256:{'0' * 64}\n")
            with self.assertRaisesRegex(fetch.FetchError, "(?s)HASHES.*HILUM_ORT_WHEEL"):
                self.fetch(None)
        self.only()

    def test_without_pip_and_venv_the_message_says_what_to_install(self):
        refused = self.assertRaisesRegex(fetch.FetchError, "python3-pip")
        with mock.patch.object(sys, "executable", "/bin/false"), redirect_stderr(io.StringIO()), refused:
            self.fetch(None)
        self.only()

    def test_the_command_fails_with_one_line(self):
        command = [sys.executable, fetch.__file__, "--into", str(self.into)]
        environment = {**os.environ, "HILUM_ORT_WHEEL": str(self.wheel)}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertRegex(run.stderr, r"\Aonnxruntime: .* is expected: not used\n\Z")

    def test_the_pins_are_one_wheel_and_one_library_a_processor(self):
        hashes = re.findall(r"sha256:([0-9a-f]{64})\b", (fetch.HERE / "requirements.txt").read_text())
        sums = (fetch.HERE / "SHA256SUMS").read_text().splitlines()
        self.assertEqual(len(set(hashes)), 2)
        self.assertEqual([line.split()[1].split("/") for line in sums],
                         [["x86_64", fetch.LIBRARY], ["aarch64", fetch.LIBRARY]])  # fmt: skip


if __name__ == "__main__":
    unittest.main()
