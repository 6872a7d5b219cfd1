"""Flash: the device seam, partitions, boot control and the power-fail-safe store. Runs on cards."""
