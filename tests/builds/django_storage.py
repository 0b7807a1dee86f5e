"""A storage of Django's whose names do not tell what the files hold, but when they were released."""

from __future__ import annotations

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class OwnStorage(ManifestStaticFilesStorage):
    """Django calls this hook for every file."""

    def file_hash(self, name: str | None, content: object = None) -> str:
        """Return the same for all of them."""
        return "20240101abcd"
