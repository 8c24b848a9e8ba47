//! The merge of two sorted scans: of the event table and of the history.

use super::report::{FindingKind as Kind, Findings, Verification, VerifyOptions, VerifyProgress};
use crate::backend::verify::{Cursor, Place};
use crate::backend::{Batch, ReadRange};
use crate::history::{Warehouse, archiver_ident, same_json};
use crate::model::error::{ErrorKind, Result};
use crate::model::event::{Event, EventId, shorten};
use crate::model::ident::{Ident, Want};
use crate::read::reader::Reader;
use std::collections::{HashMap, VecDeque};

/// Most rows of one read.
const CHUNK: usize = 1000;

/// A row, or the id and the failure of one that cannot be read.
enum Row {
    Event(Event),
    Unreadable(EventId),
}

impl Row {
    fn id(&self) -> EventId {
        match self {
            Row::Event(event) => event.id,
            Row::Unreadable(id) => *id,
        }
    }

    fn event(&self) -> Option<&Event> {
        match self {
            Row::Event(event) => Some(event),
            Row::Unreadable(_) => None,
        }
    }
}

/// The rows of one table that were read and not looked at yet; all of it is known up to `end`.
struct Side<'a> {
    place: Place,
    reader: &'a Reader,
    warehouse: Option<&'a Warehouse>,
    rows: VecDeque<Row>,
    end: EventId,
}

impl Side<'_> {
    fn read(&self, after: EventId, up_to: EventId, limit: usize) -> Result<Batch> {
        let want = Want::all();
        let range = ReadRange::all(after, &want, &self.reader.settings);
        let range = ReadRange { up_to, check_json: false, ..range };
        match (self.place, self.warehouse) {
            (Place::History, Some(warehouse)) => warehouse.read(limit, range),
            _ => {
                let range = ReadRange { limit, ..range };
                self.reader.pool()?.with_retry(|connection| connection.read(&range))
            }
        }
    }

    fn ids(&self, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        let pool = match (self.place, self.warehouse) {
            (Place::History, Some(warehouse)) => warehouse.pool()?,
            _ => self.reader.pool()?,
        };
        pool.with_retry(|connection| connection.ids(self.place, after, limit))
    }

    /// Reads on after what was read, up to `up_to`.
    fn fill(&mut self, after: EventId, up_to: EventId, findings: &mut Findings) -> Result<()> {
        let mut limit = CHUNK;
        let batch = loop {
            match self.read(after, up_to, limit) {
                Ok(batch) => break batch,
                // The part without the row that cannot be read, and then that row alone.
                Err(error) if error.kind() == ErrorKind::CorruptEvent && limit > 1 => limit /= 2,
                Err(error) if error.kind() == ErrorKind::CorruptEvent => {
                    let id = self.ids(after, 1)?.first().copied().filter(|id| *id <= up_to);
                    let Some(id) = id else { return Err(error) };
                    findings.add(Kind::Unreadable, id, || format!("{}: {error}", self.name()));
                    self.rows.push_back(Row::Unreadable(id));
                    self.end = id;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        };
        self.end = if batch.cut { batch.scanned } else { up_to };
        let mut last = after;
        for event in batch.events {
            if event.id == last {
                findings.add(Kind::Duplicate, event.id, || self.name().to_owned());
                continue;
            }
            last = event.id;
            self.rows.push_back(Row::Event(event));
        }
        if batch.cut && self.ids(self.end - 1, 2)? == [self.end, self.end] {
            findings.add(Kind::Duplicate, self.end, || self.name().to_owned());
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self.place {
            Place::Queue => "the event table",
            Place::History => "the history",
        }
    }

    fn next_upto(&mut self, end: EventId) -> Option<Row> {
        if self.rows.front()?.id() <= end { self.rows.pop_front() } else { None }
    }
}

/// What the cursors say.
struct Cursors {
    all: Vec<Cursor>,
    /// That of the archiver, if it is registered.
    archiver: Option<i128>,
    /// The lowest one.
    lowest: Option<i128>,
}

impl Cursors {
    fn read(reader: &Reader, archiver: &Ident) -> Result<Self> {
        let all = reader.pool()?.with_retry(|connection| connection.cursors())?;
        let archiver = all.iter().find(|cursor| cursor.ident == archiver.as_str());
        Ok(Cursors {
            archiver: archiver.map(|cursor| cursor.last_id),
            lowest: all.iter().map(|cursor| cursor.last_id).min(),
            all,
        })
    }

    /// Whether the archiver has passed an id.
    fn archived(&self, id: EventId) -> bool {
        self.archiver.is_some_and(|cursor| i128::from(id) <= cursor)
    }
}

struct Scan<'a> {
    reader: &'a Reader,
    warehouse: Option<&'a Warehouse>,
    archiver: Ident,
    /// The consumers when it began, and when they were registered.
    initial: HashMap<String, Option<i64>>,
    cursors: Cursors,
    /// The lowest id of the history when it began.
    history_begins: Option<EventId>,
    /// Everything up to this is accounted for.
    done: EventId,
    /// An event was met in the event table.
    queue_began: bool,
    report: Verification,
    findings: Findings,
}

pub(super) fn run(
    reader: &Reader,
    warehouse: Option<&Warehouse>,
    options: &VerifyOptions,
    mut go_on: impl FnMut(VerifyProgress) -> bool,
) -> Result<Verification> {
    let archiver = archiver_ident()?;
    let allocated = reader.pool()?.with_retry(|connection| connection.highest_allocated())?;
    let cursors = Cursors::read(reader, &archiver)?;
    let history_begins = match warehouse {
        Some(warehouse) => {
            let first = |c: &mut crate::backend::Connection| c.ids(Place::History, 0, 1);
            warehouse.pool()?.with_retry(first)?.first().copied()
        }
        None => None,
    };
    let mut scan = Scan {
        reader,
        warehouse,
        initial: cursors.all.iter().map(|c| (c.ident.clone(), c.registered)).collect(),
        archiver,
        cursors,
        history_begins,
        done: options.from - 1,
        queue_began: false,
        report: Verification {
            first: options.from,
            highest_id: allocated,
            ..Verification::default()
        },
        findings: Findings::new(options.examples),
    };
    let up_to = options.to.min(allocated);
    let total = up_to.saturating_sub(scan.done);
    let settled = match go_on(VerifyProgress { done: 0, total }) {
        true => scan.settled(up_to, &mut go_on)?,
        false => None,
    };
    let complete = match settled {
        Some(settled) => scan.all(settled.min(up_to), up_to, &mut go_on)?,
        None => false,
    };
    if complete {
        scan.account_unsettled(up_to);
        scan.ends(options)?;
    }
    scan.report.complete = complete;
    scan.report.last = scan.done;
    scan.report.findings = scan.findings.list();
    Ok(scan.report)
}

impl Scan<'_> {
    /// How far ids are settled, up to `up_to` or further; `None` if it was asked to end.
    fn settled(
        &mut self,
        up_to: EventId,
        go_on: &mut impl FnMut(VerifyProgress) -> bool,
    ) -> Result<Option<EventId>> {
        // What every cursor has passed was settled then.
        let passed = self.cursors.lowest.and_then(|id| EventId::try_from(id).ok()).unwrap_or(0);
        let mut position = passed.min(self.report.highest_id).max(self.done);
        if position >= up_to {
            return Ok(Some(position));
        }
        loop {
            let look = self.reader.settle(position)?;
            self.report.blocked = look.blocked;
            if !look.more || look.horizon <= position || look.horizon >= up_to {
                return Ok(Some(look.horizon.max(position)));
            }
            position = look.horizon;
            if !go_on(VerifyProgress { done: 0, total: up_to.saturating_sub(self.done) }) {
                return Ok(None);
            }
        }
    }

    /// Looks at all ids up to `settled`; `false` if it was asked to end before.
    fn all(
        &mut self,
        settled: EventId,
        up_to: EventId,
        go_on: &mut impl FnMut(VerifyProgress) -> bool,
    ) -> Result<bool> {
        let side = |place| Side {
            place,
            reader: self.reader,
            warehouse: self.warehouse,
            rows: VecDeque::new(),
            end: self.done,
        };
        let (mut queue, mut history) = (side(Place::Queue), side(Place::History));
        let total = up_to.saturating_sub(self.done);
        let before = self.done;
        while self.done < settled {
            if queue.end <= self.done {
                queue.fill(self.done, settled, &mut self.findings)?;
            }
            // In this order: see the top of the module.
            self.cursors = Cursors::read(self.reader, &self.archiver)?;
            match self.warehouse {
                Some(_) if history.end <= self.done => {
                    history.fill(self.done, queue.end, &mut self.findings)?;
                }
                Some(_) => {}
                None => history.end = queue.end,
            }
            self.merge(&mut queue, &mut history);
            if !go_on(VerifyProgress { done: self.done - before, total }) && self.done < settled {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Accounts for all ids that both sides are known for.
    fn merge(&mut self, queue: &mut Side<'_>, history: &mut Side<'_>) {
        let end = queue.end.min(history.end);
        let mut active = queue.next_upto(end);
        let mut archived = history.next_upto(end);
        loop {
            let next = [&active, &archived].into_iter().flatten().map(Row::id).min();
            let Some(id) = next else { break };
            self.gap(id - 1);
            let here = active.take_if(|row| row.id() == id);
            let there = archived.take_if(|row| row.id() == id);
            self.account(id, here.as_ref(), there.as_ref());
            self.done = id;
            if here.is_some() {
                self.queue_began = true;
                active = queue.next_upto(end);
            }
            if there.is_some() {
                archived = history.next_upto(end);
            }
        }
        self.gap(end);
    }

    fn account(&mut self, id: EventId, active: Option<&Row>, archived: Option<&Row>) {
        match (active, archived) {
            (Some(active), Some(archived)) => {
                self.report.in_both += 1;
                if let (Some(event), Some(found)) = (active.event(), archived.event())
                    && !same(event, found)
                {
                    let detail =
                        || format!("{} in the history, {} in the stream", show(found), show(event));
                    self.findings.add(Kind::Changed, id, detail);
                }
            }
            (Some(active), None) => {
                self.report.in_queue += 1;
                if self.warehouse.is_some() && self.cursors.archived(id) {
                    let what = active.event().map_or_else(|| "unreadable".to_owned(), show);
                    let cursor = self.cursors.archiver.unwrap_or_default();
                    let detail = || format!("{what}; the archiver is at {cursor}");
                    self.findings.add(Kind::NotArchived, id, detail);
                }
            }
            (None, Some(archived)) => {
                self.report.in_history += 1;
                if let Some(whose) = self.not_acknowledged(id, archived.event()) {
                    let what = archived.event().map_or_else(|| "unreadable".to_owned(), show);
                    let detail = format!("{what}; {} is at {}", whose.ident, whose.last_id);
                    self.findings.add(Kind::LostFromQueue, id, || detail);
                }
            }
            (None, None) => {}
        }
    }

    /// A consumer that has not acknowledged an event, and for which the discarder would have kept it.
    fn not_acknowledged(&self, id: EventId, event: Option<&Event>) -> Option<&Cursor> {
        self.cursors.all.iter().find(|cursor| {
            let behind = cursor.last_id < i128::from(id);
            // It was registered before the event was added, so it was there whenever one discarded.
            let older = match (cursor.registered, event) {
                (Some(registered), Some(event)) => registered < event.ts.unix(),
                _ => false,
            };
            // The discarder deletes from the start on: it leaves no event before one that it deletes.
            let hole = self.queue_began
                && self.initial.get(&cursor.ident).is_some_and(|at| *at == cursor.registered);
            // The archiver acknowledges what it has put into the history.
            let archiver = cursor.ident == self.archiver.as_str() && cursor.last_id > 0;
            behind && (older || hole || archiver)
        })
    }

    /// Accounts for ids without an event, up to `up_to`.
    fn gap(&mut self, up_to: EventId) {
        if up_to <= self.done {
            return;
        }
        let clamp = |id: i128| EventId::try_from(id.max(0)).unwrap_or(EventId::MAX);
        let passed = self.cursors.lowest.map_or(EventId::MAX, clamp);
        // From where on the history would have it, if it had been an event.
        let told = match (self.history_begins, self.cursors.archiver) {
            (Some(begins), Some(_)) => begins,
            _ => EventId::MAX,
        };
        let gone_to = passed.min(told).clamp(self.done, up_to);
        self.report.gone += gone_to - self.done;
        self.report.never_committed += up_to - gone_to;
        self.done = up_to;
    }

    fn account_unsettled(&mut self, up_to: EventId) {
        self.report.unsettled = up_to.saturating_sub(self.done);
        self.done = self.done.max(up_to);
    }

    /// What is to be found beside the ids in between.
    fn ends(&mut self, options: &VerifyOptions) -> Result<()> {
        let pool = self.reader.pool()?;
        let (first, examples) = (i128::from(options.from), options.examples);
        if let Some(warehouse) = self.warehouse {
            // The archiver's cursor before the history, the history before what was allocated.
            let cursors = Cursors::read(self.reader, &self.archiver)?;
            let end = warehouse.end()?;
            let allocated = pool.with_retry(|connection| connection.highest_allocated())?;
            if let Some(cursor) = cursors.archiver
                && cursor > i128::from(end)
                && (first..=i128::from(options.to)).contains(&cursor)
            {
                let detail = || format!("the archiver is at {cursor}, the history ends at {end}");
                self.findings.add(Kind::HistoryShort, cursor, detail);
            }
            if end > allocated && allocated < options.to {
                let after = allocated.max(options.from - 1);
                let place = Place::History;
                let count = warehouse.pool()?.with_retry(|c| c.count_after(place, after))?;
                let ids = warehouse.pool()?.with_retry(|c| c.ids(place, after, examples))?;
                for id in &ids {
                    self.findings
                        .add(Kind::HistoryBeyond, id, || format!("{allocated} was allocated"));
                }
                self.findings.add_unnamed(Kind::HistoryBeyond, count - ids.len() as u64);
            }
            let strays = warehouse.pool()?.with_retry(|c| c.strays(Place::History, examples))?;
            self.stray(strays, "the history");
        }
        let strays = pool.with_retry(|connection| connection.strays(Place::Queue, examples))?;
        self.stray(strays, "the event table");
        // The cursors before what was allocated: both grow.
        let cursors = Cursors::read(self.reader, &self.archiver)?;
        let allocated = pool.with_retry(|connection| connection.highest_allocated())?;
        for cursor in &cursors.all {
            if !(0..=i128::from(allocated)).contains(&cursor.last_id) {
                let detail = || format!("{}; {allocated} was allocated", cursor.ident);
                self.findings.add(Kind::CursorBeyond, cursor.last_id, detail);
            }
        }
        Ok(())
    }

    fn stray(&mut self, strays: crate::backend::verify::Strays, whose: &str) {
        for id in &strays.first {
            self.findings.add(Kind::IdOutside, id, || whose.to_owned());
        }
        let named = strays.first.len() as u64;
        self.findings.add_unnamed(Kind::IdOutside, strays.count.saturating_sub(named));
    }
}

fn same(a: &Event, b: &Event) -> bool {
    a.event_type == b.event_type && a.ts == b.ts && same_json(a.data.as_str(), b.data.as_str())
}

fn show(event: &Event) -> String {
    format!("\"{} {} {}\"", event.ts, event.event_type, shorten(event.data.as_str()))
}
