"""The pages: each module declares its own in ``PAGES``, and is found by being here.

``entrance`` logs the operator in, and everybody out; ``forge_login`` logs people of the forge in;
``overview`` is the first page; ``events`` announces what changes; ``action`` is the page of one action and
``new_action`` makes one; ``desktops`` shows and opens desktops, and ``new_desktop`` makes one; ``stacks`` shows,
updates and destroys stacks, ``new_stack`` deploys one, and ``stack_api`` is the same for programs;
``inventory``, ``sidecars``, ``audit`` and ``doctor`` are about the installation; ``description`` is the
OpenAPI document.
"""
