"""More to do than can be done: what is measured (readings), when to do without what (ladder), and how."""
