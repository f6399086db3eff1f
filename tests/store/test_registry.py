"""The registry against a real PostgreSQL: the conformance suite and `hilum migrate`."""

import json


def test_postgresql_keeps_the_promises(rust, postgresql) -> None:
    url = postgresql.database("conformance")
    config = f"[registry]\nurl = {json.dumps(url)}\npassword_file = {json.dumps(str(postgresql.password))}\n"
    rust("registry::a_server_keeps_the_promises", "HILUM_TEST_REGISTRY", config)
