//! `DaemonService`.

mod update;
mod watch;

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1 as api;
use zhylon_proto::daemons::v1::daemon_service_server::DaemonService;
use zhylon_shared::spec::{FieldViolation, InvalidSpec};
use zhylon_shared::state::DesiredState;
use zhylon_shared::wire::{spec_from_api, strategy_from_wire, system_time};

use super::methods::{open, page};
use super::status::to_status;
use super::{Api, convert};
use crate::domain::{DaemonDraft, DaemonView, Error, Intent};

#[tonic::async_trait]
impl DaemonService for Api {
    type WatchDaemonsStream =
        Pin<Box<dyn Stream<Item = Result<api::WatchDaemonsResponse, Status>> + Send>>;

    async fn create_daemon(
        &self,
        request: Request<api::CreateDaemonRequest>,
    ) -> Result<Response<api::CreateDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let made = self
            .domain
            .create_daemon(
                &ctx,
                &asked.server_id,
                || draft(asked.daemon.as_ref()),
                asked.validate_only,
            )
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::CreateDaemonResponse {
            daemon: Some(shown(made, asked.validate_only)),
        }))
    }

    async fn get_daemon(
        &self,
        request: Request<api::GetDaemonRequest>,
    ) -> Result<Response<api::GetDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let daemon = self.domain.daemon(&ctx, &asked.daemon_id).await;
        Ok(Response::new(api::GetDaemonResponse {
            daemon: Some(convert::daemon(daemon.map_err(to_status)?)),
        }))
    }

    async fn list_daemons(
        &self,
        request: Request<api::ListDaemonsRequest>,
    ) -> Result<Response<api::ListDaemonsResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self
            .domain
            .daemons(&ctx, &asked.server_id, &asked.team_id, &page)
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::ListDaemonsResponse {
            daemons: page.items.into_iter().map(convert::daemon).collect(),
            next_page_token: page.next,
        }))
    }

    async fn list_daemon_events(
        &self,
        request: Request<api::ListDaemonEventsRequest>,
    ) -> Result<Response<api::ListDaemonEventsResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let page = page(asked.page_size, asked.page_token);
        let page = self
            .domain
            .daemon_events(&ctx, &asked.daemon_id, &page)
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::ListDaemonEventsResponse {
            events: page.items,
            next_page_token: page.next,
        }))
    }

    async fn update_daemon(
        &self,
        request: Request<api::UpdateDaemonRequest>,
    ) -> Result<Response<api::UpdateDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let daemon = asked.daemon.unwrap_or_default();
        let paths = asked.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let changed = self
            .domain
            .update_daemon(
                &ctx,
                &daemon.id,
                &daemon.etag,
                |current| update::merge(current, &daemon, &paths),
                asked.validate_only,
            )
            .await
            .map_err(to_status)?;
        Ok(Response::new(api::UpdateDaemonResponse {
            daemon: Some(convert::daemon(changed)),
        }))
    }

    async fn delete_daemon(
        &self,
        request: Request<api::DeleteDaemonRequest>,
    ) -> Result<Response<api::DeleteDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let done = self
            .domain
            .delete_daemon(&ctx, &asked.daemon_id, &asked.etag)
            .await;
        done.map_err(to_status)?;
        Ok(Response::new(api::DeleteDaemonResponse {}))
    }

    async fn start_daemon(
        &self,
        request: Request<api::StartDaemonRequest>,
    ) -> Result<Response<api::StartDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let intent = || Ok(Intent::Start);
        let daemon = self.domain.intend(&ctx, &asked.daemon_id, intent).await;
        Ok(Response::new(api::StartDaemonResponse {
            daemon: Some(convert::daemon(daemon.map_err(to_status)?)),
        }))
    }

    async fn stop_daemon(
        &self,
        request: Request<api::StopDaemonRequest>,
    ) -> Result<Response<api::StopDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let intent = || Ok(Intent::Stop);
        let daemon = self.domain.intend(&ctx, &asked.daemon_id, intent).await;
        Ok(Response::new(api::StopDaemonResponse {
            daemon: Some(convert::daemon(daemon.map_err(to_status)?)),
        }))
    }

    async fn restart_daemon(
        &self,
        request: Request<api::RestartDaemonRequest>,
    ) -> Result<Response<api::RestartDaemonResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let intent = || restart(&asked);
        let daemon = self.domain.intend(&ctx, &asked.daemon_id, intent).await;
        Ok(Response::new(api::RestartDaemonResponse {
            daemon: Some(convert::daemon(daemon.map_err(to_status)?)),
        }))
    }

    async fn watch_daemons(
        &self,
        request: Request<api::WatchDaemonsRequest>,
    ) -> Result<Response<Self::WatchDaemonsStream>, Status> {
        let (ctx, asked) = open(request)?;
        let watch = self
            .domain
            .watch(&ctx, &asked.server_id, &asked.team_id)
            .await;
        let events = watch::events(watch.map_err(to_status)?, self.draining.clone());
        Ok(Response::new(Box::pin(events)))
    }
}

/// A daemon that is to be created.
fn draft(daemon: Option<&api::Daemon>) -> Result<DaemonDraft, Error> {
    let Some(daemon) = daemon else {
        return Err(Error::field("daemon", "REQUIRED", "must be given"));
    };
    let desired = match api::DesiredState::try_from(daemon.desired_state) {
        Ok(api::DesiredState::Unspecified | api::DesiredState::Running) => {
            Ok(DesiredState::Running)
        }
        Ok(api::DesiredState::Stopped) => Ok(DesiredState::Stopped),
        Err(_) => {
            let text = format!(
                "{} is not a desired state: RUNNING STOPPED",
                daemon.desired_state
            );
            Err(FieldViolation::new("desired_state", "ENUM", text))
        }
    };
    match (spec_from_api(daemon), desired) {
        (Ok(spec), Ok(desired)) => Ok(DaemonDraft { spec, desired }),
        (spec, desired) => {
            let mut bad = spec.err().map(|InvalidSpec(bad)| bad).unwrap_or_default();
            bad.extend(desired.err());
            Err(within_daemon(bad))
        }
    }
}

/// A restart.
fn restart(asked: &api::RestartDaemonRequest) -> Result<Intent, Error> {
    let mut bad = Vec::new();
    let not_after = asked.not_after.as_ref().map(system_time);
    if not_after == Some(None) {
        let text = "must be a time after 1970 with 0 to 999999999 nanoseconds";
        bad.push(FieldViolation::new("not_after", "TIMESTAMP", text));
    }
    match strategy_from_wire("strategy", asked.strategy) {
        Ok(strategy) if bad.is_empty() => Ok(Intent::Restart {
            not_after: not_after.flatten(),
            strategy,
        }),
        Ok(_) => Err(Error::Invalid(bad)),
        Err(InvalidSpec(more)) => {
            bad.extend(more);
            Err(Error::Invalid(bad))
        }
    }
}

/// Broken rules of fields of `daemon`, by their paths in the request.
fn within_daemon(mut bad: Vec<FieldViolation>) -> Error {
    for violation in &mut bad {
        violation.field = format!("daemon.{}", violation.field);
    }
    Error::Invalid(bad)
}

/// What was only checked has no id.
fn shown(view: DaemonView, validate_only: bool) -> api::Daemon {
    let mut daemon = convert::daemon(view);
    if validate_only {
        daemon.id.clear();
    }
    daemon
}
