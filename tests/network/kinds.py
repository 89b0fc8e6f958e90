"""The kinds of virtual links that this kernel makes."""

from __future__ import annotations

from appliance.network.values import Kind
from tests.support.namespaces import kernel_has

KINDS = tuple(kind for kind in (Kind.BOND, Kind.BRIDGE, Kind.VLAN) if kind is Kind.BRIDGE or kernel_has(kind.value))
