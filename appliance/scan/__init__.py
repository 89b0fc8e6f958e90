"""The streaming scan: the contract every scanner keeps, the tee that feeds them, and the scanners."""
