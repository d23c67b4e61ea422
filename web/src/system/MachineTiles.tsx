/** The machine of the server: its devices, its disk and what fills it, and the versions of the software. */

import { useQuery } from "@tanstack/react-query";

import type { Schemas } from "../api/client";
import { machine } from "../api/queries";
import { Bar, ErrorNote, Loading } from "../components/notices";
import * as format from "../language/format";
import { useText } from "../language/language";

type Machine = Schemas["MachineOf"];

export function MachineTiles() {
  const t = useText();
  const { data, error, refetch } = useQuery(machine);
  return (
    <section className="step">
      <h2>{t("system.machine")}</h2>
      {data === undefined ? (
        error === null ? (
          <Loading lines={4} />
        ) : (
          <ErrorNote error={error} onRetry={() => void refetch()} />
        )
      ) : (
        <>
          <div className="tiles">
            <Devices machine={data} />
            <Disk disk={data.disk} />
            <Software versions={data.versions} />
          </div>
          <p className="hint">{t("system.measured", { at: format.moment(data.measured_at) })}</p>
        </>
      )}
    </section>
  );
}

function Devices({ machine: { cpu, memory, gpus } }: { machine: Machine }) {
  const t = useText();
  const used = memory.limit - memory.available;
  return (
    <div className="tile">
      <h3>{t("system.devices")}</h3>
      <dl className="facts">
        <dt>CPU</dt>
        <dd>
          {cpu.name} · {t("system.cores", { n: format.count(cpu.logical) })}
          {cpu.usable < cpu.logical && ` · ${t("system.usable", { n: format.count(cpu.usable) })}`}
        </dd>
        {cpu.load !== null && (
          <>
            <dt>{t("system.load")}</dt>
            <dd className="number">{format.value(cpu.load)}</dd>
          </>
        )}
        <dt>{t("system.memory")}</dt>
        <dd>
          {t("system.free_of", { free: format.bytes(memory.available), all: format.bytes(memory.limit) })}
          <Bar share={used / memory.limit} label={t("system.memory")} />
        </dd>
        {gpus.length === 0 && (
          <>
            <dt>GPU</dt>
            <dd>{t("system.no_gpu")}</dd>
          </>
        )}
        {gpus.map((gpu) => (
          <div key={gpu.id} className="fact-line">
            <dt>GPU {gpu.id}</dt>
            <dd>
              {gpu.name} · {t(gpu.is_allocated ? "system.gpu_busy" : gpu.trains ? "system.gpu_free" : "system.gpu_unused")}
              {gpu.memory !== null && gpu.memory_used !== null && (
                <>
                  {" · "}
                  {t("system.free_of", { free: format.bytes(gpu.memory - gpu.memory_used), all: format.bytes(gpu.memory) })}
                  <Bar share={gpu.memory_used / gpu.memory} label={`GPU ${gpu.id}`} />
                </>
              )}
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function Disk({ disk }: { disk: Machine["disk"] }) {
  const t = useText();
  return (
    <div className="tile">
      <h3>{t("system.disk")}</h3>
      {disk === null ? (
        <p className="field-problem">{t("system.no_folder")}</p>
      ) : (
        <>
          <p>
            {t("system.free_of", { free: format.bytes(disk.free), all: format.bytes(disk.total) })}
            <Bar share={1 - disk.free / disk.total} label={t("system.disk")} />
          </p>
          <dl className="facts">
            {[...disk.usage]
              .sort((a, b) => b.bytes - a.bytes)
              .map(({ part, bytes, is_complete: isComplete }) => (
                <div key={part} className="fact-line">
                  <dt>{t(`disk.${part}`)}</dt>
                  <dd className="number">{isComplete ? format.bytes(bytes) : t("system.at_least", { size: format.bytes(bytes) })}</dd>
                </div>
              ))}
          </dl>
          <p className="id">{disk.folder}</p>
        </>
      )}
    </div>
  );
}

function Software({ versions }: { versions: Machine["versions"] }) {
  const t = useText();
  return (
    <div className="tile">
      <h3>{t("system.software")}</h3>
      <dl className="facts">
        {Object.entries(versions).map(([name, version]) => (
          <div key={name} className="fact-line">
            <dt>{name}</dt>
            <dd>{version ?? t("system.not_installed")}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
