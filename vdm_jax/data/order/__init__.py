"""Which clip comes when: pure functions of the step."""
