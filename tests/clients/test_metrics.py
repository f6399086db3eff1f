"""A real scrape, judged by promtool."""

import shutil
import subprocess

import pytest
from wire import INFERENCE


def test_promtool_accepts_a_scrape(server, wire, channel, images):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the Debian package prometheus has it")
    infer = wire.unary(channel, INFERENCE, "ModelInfer")
    infer(wire.request(images, "1"))
    infer(wire.request(images, "2"))
    status, scrape = server.get("/metrics")
    assert status == 200
    assert 'hilum_rows_total{model="mnist",version="1"}' in scrape
    checked = subprocess.run([promtool, "check", "metrics"], input=scrape, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
