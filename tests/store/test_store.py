"""The object store against real S3 servers: the conformance suite, encryption, locks, refusals, faults."""

import datetime
import socket

import botocore.exceptions
import pytest
import servers
from conftest import store_config
from faults import FaultyProxy

CONFORMS = "store::a_real_store_keeps_the_promises"
FAULT = "store::a_store_with_a_fault_is_told_apart"


def expect(rust, outcome: str, config: str, credentials=servers.ADMIN) -> None:
    rust(FAULT, "HILUM_TEST_STORE_FAULT", config, credentials, HILUM_TEST_STORE_EXPECTED=outcome)


def only_object(server, bucket: str) -> dict:
    """The one object of a bucket, as another client sees it."""
    (found,) = server.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"].startswith("site-a/run-")
    return server.client.head_object(Bucket=bucket, Key=found["Key"], ChecksumMode="ENABLED") | {"Key": found["Key"]}


def test_seaweedfs_keeps_the_promises(rust, seaweedfs, bucket_name) -> None:
    config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
    rust(CONFORMS, "HILUM_TEST_STORE", config, servers.ADMIN)


def test_moto_keeps_the_promises(rust, moto, bucket_name) -> None:
    config = store_config(moto.endpoint, moto.bucket(bucket_name))
    rust(CONFORMS, "HILUM_TEST_STORE", config, servers.ADMIN)


def test_objects_are_encrypted_by_the_key_of_kms(rust, moto, bucket_name) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    expect(rust, "works", store_config(moto.endpoint, moto.bucket(bucket_name), kms_key=key))
    found = only_object(moto, bucket_name)
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", key)


def test_a_store_that_passes_the_key_over_is_refused_each_time(rust, moto, bucket_name) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    with FaultyProxy(moto.endpoint) as proxy:
        proxy.fault = lambda _number, _method: "unencrypted"
        expect(rust, "refused", store_config(proxy.endpoint, moto.bucket(bucket_name), kms_key=key))
    assert "ServerSideEncryption" not in only_object(moto, bucket_name)


@pytest.mark.parametrize("mode", ["governance", "compliance"])
def test_objects_are_locked(rust, seaweedfs, bucket_name, mode) -> None:
    bucket = seaweedfs.bucket(bucket_name, locked=True)
    config = store_config(seaweedfs.endpoint, bucket, object_lock=mode, object_lock_days=30)
    expect(rust, "works", config)
    found = only_object(seaweedfs, bucket)
    assert found["ObjectLockMode"] == mode.upper()
    left = found["ObjectLockRetainUntilDate"] - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=29, hours=23) < left <= datetime.timedelta(days=30)
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        seaweedfs.client.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])


def test_a_lock_that_the_bucket_has_not_is_found_by_the_check(rust, seaweedfs, bucket_name) -> None:
    bucket = seaweedfs.bucket(bucket_name)
    expect(rust, "check", store_config(seaweedfs.endpoint, bucket, object_lock="governance", object_lock_days=1))


def test_who_may_not_is_denied_and_not_tried_for_ever(rust, seaweedfs, bucket_name) -> None:
    config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
    for credentials in [servers.READER, (servers.ADMIN[0], "wrong"), ("nobody", "nothing"), None]:
        expect(rust, "denied", config, credentials)
    assert "Contents" not in seaweedfs.client.list_objects_v2(Bucket=bucket_name)


def test_a_bucket_that_is_not_there_is_refused(rust, moto, bucket_name) -> None:
    expect(rust, "refused", store_config(moto.endpoint, bucket_name))
    expect(rust, "check", store_config(moto.endpoint, bucket_name))


@pytest.mark.parametrize("fault", [503, 500, "reset"])
def test_what_passes_is_tried_again(rust, seaweedfs, bucket_name, fault) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        proxy.fault = lambda number, _method: fault if number < 2 else None
        expect(rust, "works", store_config(proxy.endpoint, seaweedfs.bucket(bucket_name)))
        assert proxy.seen == 3
    assert only_object(seaweedfs, bucket_name)["ContentLength"] == 100_000


def test_an_answer_that_is_lost_is_no_second_object(rust, seaweedfs, bucket_name) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        proxy.fault = lambda number, _method: "lost" if number == 0 else None
        expect(rust, "before", store_config(proxy.endpoint, seaweedfs.bucket(bucket_name)))
    assert only_object(seaweedfs, bucket_name)["ContentLength"] == 100_000


@pytest.mark.parametrize("fault", [503, 500, "reset", "slow"])
def test_what_does_not_pass_ends_in_time(rust, seaweedfs, bucket_name, fault) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        proxy.fault = lambda _number, _method: fault
        config = store_config(proxy.endpoint, seaweedfs.bucket(bucket_name), attempt_timeout="1s", timeout="3s")
        expect(rust, "unavailable", config)
        assert proxy.seen >= 2
    assert "Contents" not in seaweedfs.client.list_objects_v2(Bucket=bucket_name)


def test_no_server_is_unavailable(rust) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        expect(rust, "unavailable", store_config(endpoint, "bucket"))
