"""The ways out: route, cut-through and pooled next hops, MX delivery, the queue's runner, delivery reports."""
