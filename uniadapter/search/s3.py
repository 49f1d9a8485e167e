"""Files of S3 for MMEngine's fileio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from uniadapter.utils.extras import import_extra

_NAME = "s3_boto3"
_GONE = ("404", "NoSuchKey", "NoSuchBucket")


@register_backend(_NAME, prefixes=None)
class S3Backend(BaseStorageBackend):
    """Reads ``s3://bucket/key`` by boto3, MMEngine's own backend of S3 being that of one cloud.

    Credentials and regions are boto3's matter: its environment variables and files.

    Args:
        **options: Of ``boto3.client('s3')``, such as ``endpoint_url``.

    Raises:
        ImportError: If boto3 is not installed.
    """

    NAME = _NAME

    def __init__(self, **options: Any) -> None:
        boto3 = import_extra("boto3", "corpus", "s3://")
        self._client = boto3.client("s3", **options)

    def get(self, filepath: str | Path) -> bytes:
        """Read a file.

        Args:
            filepath: ``s3://bucket/key``.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it can't be read, or is no such address.
        """
        bucket, _, key = str(filepath).removeprefix("s3://").partition("/")
        if not str(filepath).startswith("s3://") or not bucket or not key:
            raise OSError(f"{filepath} is no address s3://bucket/key")
        try:
            return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        # The library's errors share no base class that says what happened.
        except Exception as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
            kind = FileNotFoundError if code in _GONE else OSError
            raise kind(f"{filepath}: {error}") from error

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """Read a text."""
        return self.get(filepath).decode(encoding)
