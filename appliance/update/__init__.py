"""Updates of the appliance: two slots, which of them starts, how it proves itself, and what is put into the other."""
