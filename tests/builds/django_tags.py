"""The template tag of docs/assets.md."""

from django import template

from edgecache.assets import static_url

register = template.Library()
register.simple_tag(static_url)
