"""Starts the agent: `python3 /usr/lib/fwmgr`, or with `select` the early selector of UEFI boards. The folder
goes to the front of this process's path only, so that nothing the agent starts inherits it."""

import os.path
import runpy
import sys

import ready

ready.use(os.path.join(os.path.dirname(__file__), "ready-code"))
module = "agent_select" if sys.argv[1:] == ["select"] else "agent"
runpy.run_module(f"firmware_mgr.app.{module}", run_name="__main__", alter_sys=True)
