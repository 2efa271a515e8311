-- The journal of uploads, which is the claim on their contents as well. Can be run again.
create table if not exists public.upload_intents (
    upload_id text primary key,
    provider text not null check (provider in ('kimi', 'glm')),
    account text not null,
    purpose text not null,
    sha256 text not null,
    filename text not null,
    size bigint not null check (size >= 0),
    path text not null,
    side text not null check (side in ('legacy', 'async')),
    state text not null default 'intended' check (
        state in ('intended', 'stored', 'sending', 'delivered', 'done', 'failed', 'unknown', 'abandoned')
    ),
    owner text,
    lease_until timestamptz,
    supabase_file_id text,
    provider_file_id text,
    attempts integer,
    error text,
    began_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    finished_at timestamptz
);

-- at most one upload of a content is under way: to insert its row is to claim the content
create unique index if not exists upload_intents_claim
    on public.upload_intents (provider, account, purpose, sha256)
    where state in ('intended', 'stored', 'sending', 'delivered');

create index if not exists upload_intents_content
    on public.upload_intents (provider, account, purpose, sha256, finished_at);

create index if not exists upload_intents_unfinished
    on public.upload_intents (began_at)
    where state not in ('done', 'failed');

-- All times are this database's: the clocks of the hosts need not agree. Each write of an owner renews the lease.
create or replace function public.stamp_upload_intent() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := clock_timestamp();
    new.began_at := coalesce(old.began_at, clock_timestamp());
    new.lease_until := case when new.owner is not null then clock_timestamp() + interval '60 seconds' end;
    new.finished_at := case
        when new.state not in ('intended', 'stored', 'sending', 'delivered')
        then coalesce(old.finished_at, clock_timestamp())
    end;
    return new;
end
$$;

create or replace trigger stamp_upload_intent
    before insert or update on public.upload_intents
    for each row execute function public.stamp_upload_intent();

-- without a policy nobody gets in but the service role, which passes by
alter table public.upload_intents enable row level security;

do $$
begin
    if exists (select from pg_roles where rolname = 'service_role') then
        grant select, insert, update, delete on public.upload_intents to service_role;
    end if;
end
$$;

-- PostgREST is to know the table at once
notify pgrst, 'reload schema';
