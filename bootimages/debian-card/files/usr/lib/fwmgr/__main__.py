"""Starts the agent: `python3 /usr/lib/fwmgr`. The folder goes to the front of this process's path only, so
that nothing the agent starts inherits it."""

import runpy

runpy.run_module("firmware_mgr.app.agent", run_name="__main__", alter_sys=True)
