"""
Pure rules of the calendar world: standard library only, no I/O, no clock, no SQL.

Glossary
    event      a calendar event: one calendar's copy of a meeting
    meeting    what people attend; several calendars may each hold an event of it
    slot       one place for a bot: a meeting link and a start, under a dedup policy
    want       one event calling for a bot in one slot
    seat       what a slot's bot should look like: link, join time, configuration
    standing   what the provider has for a slot right now
    delivery   one inbound notification
    due        wanted > done: somebody asked, nobody has finished
    domain event   a message we send out; lives in `emitted`
"""
