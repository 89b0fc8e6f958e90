"""The appliance's own network: kernel state read, planned and applied; DHCP, names, clock and firewall rendered."""
