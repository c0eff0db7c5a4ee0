"""What breaks, and what segtrain does about it: one test for each row of the tables in docs/reliability.md.

Each test carries its row: `@pytest.mark.fault(group, fault, behaviour)`.
"""
