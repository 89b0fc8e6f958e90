"""TLS: the contexts that sessions are made from, and the certificate that we show. Opens no connection."""
