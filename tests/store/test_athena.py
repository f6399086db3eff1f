"""`deploy/athena`: the table and the queries in Athena's dialect, executed on real files by DuckDB and DataFusion.

The table's statement and the queries that ask for no function of Trino's alone go through an Athena API as well, word
for word; no such API with Trino's own functions is to be had outside Amazon's.
"""

import collections
import datetime
import json
import math
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import boto3
import datafusion
import duckdb
import pyarrow.parquet
import pytest
import servers
import sqlglot
from conftest import ROOT
from sqlglot import exp
from test_shipping import Site

ATHENA = ROOT / "deploy/athena"
QUERIES = sorted(path for path in ATHENA.glob("*.sql") if path.name != "00_table.sql")


@pytest.fixture(scope="session")
def record(suites_run, tmp_path_factory) -> Path:
    """A store with rows of every kind, written by ours."""
    folder = tmp_path_factory.mktemp("record")
    suites_run("shipping::reading::a_sample_of_the_record_is_whole", HILUM_TEST_SAMPLE=str(folder))
    return folder / "store"


@pytest.fixture(scope="session")
def rows(record) -> list[dict]:
    return [row for file in record.glob("audit/model=*/dt=*/*.parquet") for row in read(file)]


def read(file: Path) -> list[dict]:
    table = pyarrow.parquet.read_table(file, partitioning=None)
    return [row | {"dt": file.parent.name.removeprefix("dt=")} for row in table.to_pylist()]


def table_of(store: Path, columns: str = "*", further: str = "") -> duckdb.DuckDBPyConnection:
    """The table over the files of a store."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = f"{store}/audit/model=*/dt=*/*.parquet"
    connection.execute(
        f"CREATE VIEW hilum_audit AS SELECT {columns} FROM read_parquet('{files}', hive_partitioning = true, "
        f"hive_types = {{'dt': VARCHAR, 'model': VARCHAR}}){further}"
    )
    return connection


@pytest.fixture(scope="session")
def duck(record):
    return table_of(record)


# Refused before they are let in: a model that is not there, and tensors of another shape.
REFUSED = {"UNKNOWN_MODEL": ("nobody", 8), "INVALID_INPUT": ("plain", 7)}
TIMES = 30


@pytest.fixture(scope="session")
def refusals(tmp_path_factory) -> Path:
    """What a service shipped that answered one request and refused `TIMES` of each sort of `REFUSED`."""
    folder = tmp_path_factory.mktemp("refusals")
    site = Site(folder, f"[store]\ndirectory = {json.dumps(str(folder / 'store'))}\n")
    server = site.serve()
    site.ask(server)
    for model, side in REFUSED.values():
        image = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, side], "data": [0.5] * 8 * side}
        request = urllib.request.Request(
            f"http://{server.http}/v2/models/{model}/infer",
            json.dumps({"inputs": [image]}).encode(),
            {"content-type": "application/json"},
        )
        for _ in range(TIMES):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=60)
    assert server.stop() == 0
    return folder / "store"


def asked_of_these_days(file: Path) -> exp.Expression:
    """A query, its example of a week replaced by yesterday, today and tomorrow."""
    today = datetime.datetime.now(datetime.UTC).date()
    around = [str(today + datetime.timedelta(days=days)) for days in (-1, 1)]
    text = file.read_text().replace("2026-11-23", "FROM").replace("2026-11-29", "TO")
    (query,) = sqlglot.parse(text.replace("FROM'", f"{around[0]}'").replace("TO'", f"{around[1]}'"), read="athena")
    return query


@pytest.fixture(scope="session")
def fusion(rows, record):
    context = datafusion.SessionContext()
    tables = []
    for file in sorted(record.glob("audit/model=*/dt=*/*.parquet")):
        table = pyarrow.parquet.read_table(file, partitioning=None)
        day = pyarrow.array([file.parent.name.removeprefix("dt=")] * table.num_rows)
        tables.append(table.append_column("dt", day))
    context.register_record_batches("hilum_audit", [pyarrow.concat_tables(tables).combine_chunks().to_batches()])
    return context


def for_datafusion(query: exp.Expression) -> str:
    """The same query as DataFusion writes it: some functions have other names there, lists are unnested in SELECT."""
    query = query.copy()
    for found in list(query.find_all(exp.ApproxQuantile)):
        found.replace(exp.func("approx_percentile_cont", found.this, found.args["quantile"]))
    for found in list(query.find_all(exp.Hex, exp.LowerHex)):
        found.replace(exp.func("encode", found.this, exp.Literal.string("hex")))
    for found in list(query.find_all(exp.IsNan, exp.Anonymous)):
        if found.sql_name() == "IS_NAN" or found.name.lower() == "is_nan":
            argument = found.this if isinstance(found, exp.IsNan) else found.expressions[0]
            found.replace(exp.Anonymous(this="isnan", expressions=[argument]))
    for join in list(query.find_all(exp.Join)):
        if isinstance(join.this, exp.Unnest):
            column, name = join.this.expressions[0].sql(), join.this.args["alias"].columns[0].name
            inner = f"SELECT *, unnest({column}) AS {name} FROM hilum_audit"
            join.parent.find(exp.From).this.replace(sqlglot.parse_one(inner).subquery("t"))
            join.pop()
    return query.sql(dialect="postgres")


def canonical(rows) -> list[tuple]:
    """Rows that two engines can agree on: numbers to nine places, times as text, no names."""

    def value(cell):
        if isinstance(cell, bool) or cell is None:
            return cell
        if hasattr(cell, "isoformat"):
            return cell.isoformat()[:19]
        try:
            number = float(cell)
        except (TypeError, ValueError):
            return cell
        return None if math.isnan(number) else round(number, 9)

    return [tuple(value(cell) for cell in row) for row in rows]


@pytest.mark.parametrize("file", [*QUERIES, ATHENA / "00_table.sql"], ids=lambda path: path.stem)
def test_it_is_a_statement_of_athena(file) -> None:
    (statement,) = sqlglot.parse(file.read_text(), read="athena")
    assert not list(statement.find_all(exp.Command)), "it is understood, not passed through"


def test_the_table_has_the_columns_of_the_files(record) -> None:
    (statement,) = sqlglot.parse((ATHENA / "00_table.sql").read_text(), read="athena")
    named = [column.name for column in statement.find(exp.Schema).expressions if isinstance(column, exp.ColumnDef)]
    file = next(record.glob("audit/model=*/dt=*/*.parquet"))
    there = pyarrow.parquet.read_schema(file).names
    assert named == [name for name in there if name != "model"], "model and dt are partitions"


def test_there_are_ten_queries() -> None:
    assert len(QUERIES) == 10


def asking_for_one_that_is_there(file: Path, rows: list[dict]) -> str:
    """A query, its example of an audit id replaced by one of the record."""
    known = next(row for row in rows if row["dt"] == "2026-11-28")
    return file.read_text().replace("0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", known["audit_id"])


@pytest.mark.parametrize("file", QUERIES, ids=lambda path: path.stem)
def test_two_engines_agree(file, duck, fusion, rows) -> None:
    text = asking_for_one_that_is_there(file, rows)
    (query,) = sqlglot.parse(text, read="athena")
    by_duck = duck.execute(query.sql(dialect="duckdb")).fetchall()
    table = fusion.sql(for_datafusion(query)).to_arrow_table()
    by_fusion = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert by_duck, "the sample has something to find"
    if "approx_percentile" in text:
        # Approximations differ between engines: everything but the percentiles.
        by_duck, by_fusion = ([(*row[:3], row[5]) for row in found] for found in (by_duck, by_fusion))
    assert sorted(map(repr, canonical(by_duck))) == sorted(map(repr, canonical(by_fusion)))


def test_the_volume_is_that_of_the_rows(duck, rows) -> None:
    (query,) = sqlglot.parse((ATHENA / "01_volume.sql").read_text(), read="athena")
    expected: dict[tuple, list[int]] = collections.defaultdict(lambda: [0, 0])
    for row in rows:
        if "2026-11-23" <= row["dt"] <= "2026-11-29":
            expected[row["dt"], row["model"]][0] += row["count"]
            expected[row["dt"], row["model"]][1] += row["count"] * (row["status"] != "OK")
    found = {(dt, model): [asked, failed] for dt, model, asked, failed in duck.execute(query.sql("duckdb")).fetchall()}
    assert found == expected


def test_aggregated_refusals_are_as_many_as_they_were(refusals) -> None:
    table = table_of(refusals)
    warnings = table.execute(asked_of_these_days(ATHENA / "07_warnings.sql").sql("duckdb")).fetchall()
    assert {warning: n for *_, warning, n in warnings if warning in REFUSED} == dict.fromkeys(REFUSED, TIMES)
    refused = table.execute(asked_of_these_days(ATHENA / "08_refusals.sql").sql("duckdb")).fetchall()
    assert sum(n for *_, n in refused) == len(REFUSED) * TIMES
    volume = table.execute(asked_of_these_days(ATHENA / "01_volume.sql").sql("duckdb")).fetchall()
    assert sum(asked for _, _, asked, _ in volume) == len(REFUSED) * TIMES + 1
    assert sum(failed for *_, failed in volume) == len(REFUSED) * TIMES


# All that count, and not the one that shows rows.
COUNTING = [path for path in QUERIES if path.stem != "09_one_request"]


@pytest.mark.parametrize("file", COUNTING, ids=lambda path: path.stem)
def test_an_aggregated_row_counts_as_many_single_ones(file, refusals) -> None:
    query = asked_of_these_days(file).sql("duckdb")
    aggregated = table_of(refusals)
    single = table_of(refusals, 'files.* REPLACE (1 AS "count")', ' AS files, range(files."count")')
    (rows, counted), (alone,) = (
        table.execute(f"SELECT {what} FROM hilum_audit").fetchone()
        for table, what in ((aggregated, 'COUNT(*), SUM("count")'), (single, "COUNT(*)"))
    )
    assert rows < counted == alone, "rows were aggregated"
    found = [sorted(map(repr, table.execute(query).fetchall())) for table in (aggregated, single)]
    assert found[0] == found[1]


class Athena:
    """An Athena API with the record in a bucket and its table, made by the statement of `deploy/athena`."""

    def __init__(self, server: servers.S3, record: Path) -> None:
        bucket = server.bucket(f"record-{uuid.uuid4().hex[:12]}")
        for file in (file for file in record.rglob("*") if file.is_file()):
            server.client.upload_file(file, bucket, file.relative_to(record).as_posix())
        # What readers of such a table pass over: nothing of it is Parquet.
        server.client.put_object(Bucket=bucket, Key="audit/_commit/chain/0-1", Body=b"no Parquet")
        self.results = f"s3://{bucket}/results/"
        keys = {"aws_access_key_id": server.credentials[0], "aws_secret_access_key": server.credentials[1]}
        options = {"endpoint_url": server.endpoint, "region_name": servers.REGION, **keys}
        self.client = boto3.client("athena", **options)
        boto3.client("glue", **options).create_database(DatabaseInput={"Name": "hilum"})
        self.run((ATHENA / "00_table.sql").read_text().replace("BUCKET", bucket))

    def run(self, query: str) -> list[list[str | None]]:
        """The rows, as Athena has them: texts."""
        started = self.client.start_query_execution(
            QueryString=query,
            QueryExecutionContext={"Database": "hilum"},
            ResultConfiguration={"OutputLocation": self.results},
        )
        id = started["QueryExecutionId"]
        deadline = time.monotonic() + servers.PATIENCE
        while True:
            status = self.client.get_query_execution(QueryExecutionId=id)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        assert status["State"] == "SUCCEEDED", status
        pages = self.client.get_paginator("get_query_results").paginate(QueryExecutionId=id)
        rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
        return [[cell.get("VarCharValue") for cell in row] for row in rows][1:]


@pytest.fixture(scope="session")
def athena(ministack, record):
    return Athena(ministack, record)


def test_the_table_is_made_by_its_statement(athena, record) -> None:
    """With its partitions by model and day, and every column of the files."""
    found = athena.client.get_table_metadata(CatalogName="AwsDataCatalog", DatabaseName="hilum", TableName="hilum_audit")
    table = found["TableMetadata"]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["model", "dt"]
    file = next(record.glob("audit/model=*/dt=*/*.parquet"))
    there = pyarrow.parquet.read_schema(file).names
    assert [column["Name"] for column in table["Columns"]] == [name for name in there if name != "model"]


# These two ask for approx_percentile and is_nan, which the engine behind the API has under other names.
BY_THE_API = [path for path in QUERIES if path.stem not in ("02_latency_by_version", "06_drift_counts")]


@pytest.mark.parametrize("file", BY_THE_API, ids=lambda path: path.stem)
def test_the_api_answers_it_word_for_word(file, athena, duck, rows) -> None:
    text = asking_for_one_that_is_there(file, rows)
    (query,) = sqlglot.parse(text, read="athena")
    expected = canonical(duck.execute(query.sql(dialect="duckdb")).fetchall())
    times = [at for at, cell in enumerate(expected[0]) if isinstance(cell, str) and len(cell) == 19 and cell[10] == "T"]
    found = []
    for row in athena.run(text):
        found.append([cell and cell[:19].replace(" ", "T") if at in times else cell for at, cell in enumerate(row)])
    assert found, "the sample has something to find"
    assert sorted(map(repr, canonical(found))) == sorted(map(repr, expected))
