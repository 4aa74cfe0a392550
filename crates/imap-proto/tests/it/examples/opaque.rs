//! Whether a message holds something that this crate takes as it is, for want of knowing it.

use posthaste_imap_proto::*;

pub(in crate::examples) fn in_command(body: &CommandBody<'_>) -> bool {
    use CommandBody as C;
    match body {
        C::Select { params, .. } | C::Examine { params, .. } => {
            params.iter().any(|p| matches!(p, SelectParam::Other { .. }))
        }
        C::Create { params, .. } => params.iter().any(|p| matches!(p, CreateParam::Other { .. })),
        C::List(list) => in_list(list),
        C::Status { items, .. } => items.iter().any(|i| matches!(i, StatusItem::Other(_))),
        C::Search { returns, .. } | C::Sort { returns, .. } => returns.as_ref().is_some_and(in_returns),
        C::MultiSearch(search) => search.returns.as_ref().is_some_and(in_returns),
        C::StoreAnnotation { .. } | C::StoreLabels { .. } | C::Convert { .. } => true,
        C::Append { messages, .. } => messages.iter().any(|m| !m.extensions.is_empty()),
        C::Fetch { items, modifiers, .. } => {
            items.expand().iter().any(|i| matches!(i, FetchItem::Other(_) | FetchItem::Annotation(_)))
                || modifiers.iter().any(|m| matches!(m, FetchModifier::Other { .. }))
        }
        _ => false,
    }
}

fn in_list(list: &List<'_>) -> bool {
    list.selection.iter().flat_map(|s| s.iter()).any(|s| matches!(s, ListSelection::Other { .. }))
        || list.returns.iter().flat_map(|r| r.iter()).any(|r| match r {
            ListReturn::Status(items) => items.iter().any(|i| matches!(i, StatusItem::Other(_))),
            other => matches!(other, ListReturn::Other { .. }),
        })
}

fn in_returns(returns: &SearchReturns<'_>) -> bool {
    returns.iter().any(|r| matches!(r, SearchReturn::Other { .. }))
}

pub(in crate::examples) fn in_response(response: &Response<'_>) -> bool {
    match response {
        Response::Continue(_) => false,
        Response::Tagged { status, .. } | Response::Status(status) => {
            matches!(status.code, Some(Code::Other { .. }))
        }
        Response::Data(data) => in_data(data),
    }
}

fn in_data(data: &Data<'_>) -> bool {
    match data {
        Data::Other(_) => true,
        Data::List(entry) | Data::Lsub(entry) => {
            entry.extended.iter().any(|e| matches!(e, ListExtended::Other { .. }))
        }
        Data::Status { items, .. } => items.iter().any(|i| matches!(i.value, StatusValue::Other(_))),
        Data::Esearch(found) => found.results.iter().any(|r| matches!(r, SearchResult::Other { .. })),
        Data::Fetch { items, .. } | Data::UidFetch { items, .. } => {
            items.iter().any(|i| matches!(i, FetchData::Other { .. }))
        }
        _ => false,
    }
}
