"""Built assets: what the tools' manifests say, for the edge that recognises names and for templates that write them.

=========  ==========================================================================
module     what it knows
=========  ==========================================================================
dialects   the manifests that build tools write, and what each line of one says
digests    which part of a listed name is the digest
manifests  a manifest as a value: versioned names, and the name behind each logical one
names      the manifests of a site as the paths of its requests, for ``semantics.versioned``
urls       ``static_url`` for templates
=========  ==========================================================================

An application imports this room without the rest: it needs neither an event loop nor aiohttp.
"""

from edgecache.assets.dialects import Kind
from edgecache.assets.manifests import Manifest, read_manifest, read_manifest_file
from edgecache.assets.names import asset_names
from edgecache.assets.urls import Assets, static_url, use

__all__ = ["Assets", "Kind", "Manifest", "asset_names", "read_manifest", "read_manifest_file", "static_url", "use"]
