"""DHCP, TFTP and HTTP for netboot: decisions pure, listeners thin."""
