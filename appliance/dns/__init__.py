"""Questions to the domain name system: the resolver, and mail routing by MX. The only room that knows dnspython."""
