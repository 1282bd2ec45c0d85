"""Everything between plum_hub and a Hub: publishing, versions, cards, lineage, and the local Hub itself.

Importing this package imports nothing else: import the module you need.
"""
