"""Builds, boots and tests images: run by `scripts/image`. Needs the standard library and Debian's tools, no root."""
