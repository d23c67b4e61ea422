"""Everything that can die dies here, at random, and what is left is checked.

``installation`` is one server with its data, ``tasks`` what it has accepted, ``mix`` what is trained, ``faults`` what can
happen, ``plan`` when it does, ``checker`` what must hold afterwards. ``rounds`` plays them together: ``test_chaos_short``
for a minute, ``long`` (``make chaos``) for some.
"""
