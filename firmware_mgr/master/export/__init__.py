"""The master in one file: what `fwmgr master export` writes and `fwmgr master import` puts back."""
